"""Videos that stay in their tar or zip file."""

import zipfile

from pipeline.video import Selection, probe, read_frames
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
