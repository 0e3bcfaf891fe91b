"""Videos that stay in their tar or zip file."""

import unicodedata
import zipfile

import pytest

from pipeline.io.archive import member_uri
from pipeline.video import Selection, probe, read_frames
from schemas.errors import MediaError
from tests.pipeline.io.test_archive import tar, zipped


def test_videos_in_shards(tmp_path, make_video):
    video = make_video("clip.mp4")
    content = video.read_bytes()
    wanted = list(read_frames(str(video), Selection(step=4)))
    for uri in (
        f"tar://x/clip.mp4::{tar(tmp_path / 's.tar', {'x/clip.mp4': content})}",
        f"zip://clip::{zipped(tmp_path / 's.zip', {'clip': content}, zipfile.ZIP_DEFLATED)}",
    ):
        assert probe(uri) == probe(str(video))
        frames = list(read_frames(uri, Selection(step=4)))
        assert [(f.index, f.name) for f in frames] == [(f.index, f.name) for f in wanted]
        assert all((f.image == w.image).all() for f, w in zip(frames, wanted, strict=True))


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_members_with_colons_and_accents(tmp_path, make_video, form):
    content = make_video("clip.mp4").read_bytes()
    name = unicodedata.normalize("NFD", "caf\u00e9.mp4")
    members = {"a::b.mp4": content, name: content}
    archive = tar(tmp_path / "s.tar", members) if form == "tar" else zipped(tmp_path / "s.zip", members)
    for uri in (
        member_uri(form, "a::b.mp4", str(archive)),
        f"{form}://{name}::{archive}",
        f"{form}://{unicodedata.normalize('NFC', name)}::{archive}",
    ):
        assert probe(uri).width == 96
    with pytest.raises(MediaError, match=r"no archive b.mp4::.* \(if '::' is part of the member's name, write"):
        probe(f"{form}://a::b.mp4::{archive}")
    with pytest.raises(MediaError, match=r"does not exist: the archive has no member 'c.mp4'"):
        probe(f"{form}://c.mp4::{archive}")
    with pytest.raises(MediaError, match=r"does not exist: there is no archive .*gone"):
        probe(f"{form}://c.mp4::{tmp_path}/gone.{form}")
