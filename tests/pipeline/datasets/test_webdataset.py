"""Shards of videos with sentences, listed without extracting them."""

import io
import json
import os
import subprocess
import tarfile

import pytest

from jobs.check import CheckConfig
from jobs.check import run as check
from jobs.import_dataset import ImportConfig, run
from pipeline.datasets import webdataset
from pipeline.datasets.common.video_tree import IS_SYSTEM
from pipeline.io import storage
from pipeline.io.manifest import read_manifest
from pipeline.video import probe
from schemas.errors import InputError, MediaError
from tests.pipeline.segment.fake import segment


def shard(path, members: dict[str, str]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return str(path)


def test_every_form_of_sentences(tmp_path):
    exported = {"video_id": "mine", "expressions": [{"expression_id": "x", "expression": "a cat", "pair_score": 0.5}]}
    first = shard(
        tmp_path / "s/0.tar",
        {
            "a.mp4": "", "a.txt": "a dog\n\na bus\n", "a.cls": "3",
            "b/b.1.mkv": "", "b/b.json": json.dumps({"caption": "a man", "fps": 25, "tags": ["x"]}),
            "c.mp4": "", "c.json": json.dumps(exported),
            "d.jpg": "", "d.txt": "an image",
            "e.mp4": "", "e.json": '["one", "two"]',
        },
    )  # fmt: skip
    second = shard(tmp_path / "s/1.tar", {"a.webm": "", "a.json": '{"texts": 1}'})
    (tmp_path / "s/2.tar.gz").touch()
    result = run(ImportConfig(dataset="webdataset", root=str(tmp_path / "s"), out=str(tmp_path / "out")))
    rows = read_manifest(str(result.manifest)).to_pylist()
    assert [(row["video_id"], row["video_uri"], row["expression_id"], row["expression"]) for row in rows] == [
        ("0__a", f"tar://a.mp4::{first}", "0", "a dog"),
        ("0__a", f"tar://a.mp4::{first}", "1", "a bus"),
        ("0__b__b", f"tar://b/b.1.mkv::{first}", "0", "a man"),
        ("mine", f"tar://c.mp4::{first}", "x", "a cat"),
        ("0__e", f"tar://e.mp4::{first}", "0", "one"),
        ("0__e", f"tar://e.mp4::{first}", "1", "two"),
    ]
    assert (rows[2]["fps"], rows[0]["fps"]) == (25, None)
    assert {one.reason: one.count for one in result.skipped} == {
        webdataset.COMPRESSED: 1, webdataset.OTHER: 1, webdataset.NO_VIDEO: 1,
    }  # fmt: skip
    assert any("videos without expressions" in warning and "1__a" in warning for warning in result.warnings)
    one = run(ImportConfig(dataset="webdataset", root=first, out=str(tmp_path / "one")))
    assert (one.videos, one.pairs) == (4, 6)
    with pytest.raises(InputError, match="neither expressions nor masks"):
        run(ImportConfig(dataset="webdataset", root=second, out=str(tmp_path / "none")))


def test_bad_shards(tmp_path):
    def message(root) -> str:
        with pytest.raises(InputError) as error:
            run(ImportConfig(dataset="webdataset", root=str(root), out=str(tmp_path / "out")))
        return str(error.value)

    assert "neither a folder of shards nor a .tar file" in message(tmp_path / "gone")
    assert "does not exist" in message(tmp_path / "gone.tar")
    (tmp_path / "empty").mkdir()
    assert "no .tar files" in message(tmp_path / "empty")
    whole = (tmp_path / "whole.tar", {"a.mp4": "x" * 9999, "a.txt": "a dog"})
    cut = tmp_path / "cut.tar"
    cut.write_bytes((tmp_path / shard(*whole)).read_bytes()[:5000])
    assert "cut.tar is not a complete, uncompressed tar file" in message(cut)
    (tmp_path / "text.tar").write_text("no tar" * 200)
    assert "text.tar is not a complete" in message(tmp_path / "text.tar")
    assert "is not valid JSON" in message(shard(tmp_path / "json.tar", {"a.mp4": "", "a.json": "{"}))
    assert "has no sample with a video file" in message(shard(tmp_path / "jpg.tar", {"a.jpg": "", "a.txt": "x"}))
    double = {
        "a.mp4": "",
        "a.json": '{"expressions": [{"expression_id": 1, "text": "x"}, {"expression_id": 1, "text": "y"}]}',
    }
    assert "duplicate expression_id '1'" in message(shard(tmp_path / "double.tar", double))


def test_names_that_need_an_escape_or_are_no_names(tmp_path):
    members = {"a::b/50%20.mp4": "1", "a::b/50%20.txt": "a cat", "../c.mp4": "", "../c.txt": "a dog"}
    uri = shard(tmp_path / "s.tar", members)
    result = run(ImportConfig(dataset="webdataset", root=uri, out=str(tmp_path / "out")))
    (row,) = read_manifest(str(result.manifest)).to_pylist()
    assert storage.read_bytes(row["video_uri"]) == b"1"
    assert any("no URI may have" in one.reason for one in result.skipped)


@pytest.mark.parametrize("place", ["local", "s3"])
def test_a_shard_is_segmented_where_it_lies(tmp_path, shapes, place, request):
    """Imported, checked, and segmented by the chain: the same masks as of the file itself."""
    video = read_manifest(shapes[0])["video_uri"][0].as_py()
    folder = str(tmp_path) if place == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    with tarfile.open(tmp_path / "clips.tar", "w") as tar:
        tar.add(video, "one.mp4")
        info = tarfile.TarInfo("one.txt")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"a cat"))
    storage.write_bytes(f"{folder}/shards/clips.tar", (tmp_path / "clips.tar").read_bytes())
    result = run(ImportConfig(dataset="webdataset", root=f"{folder}/shards", out=f"{folder}/out"))
    (row,) = read_manifest(str(result.manifest)).to_pylist()
    assert check(CheckConfig(manifest=str(result.manifest))).exit_code == 0
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    found, receipt, _ = segment(tmp_path / "a", row["video_uri"], ["a cat"])
    assert receipt.failed == {}
    assert found.equals(segment(tmp_path / "b", video, ["a cat"])[0])


def test_keys_with_dots_whose_videos_have_labels_of_their_own(tmp_path):
    """WebDataset ends a key at the first dot, so that `22.05` and `22.06` would be one sample (its issue 237)."""
    members = {"22.05.mp4": "", "22.05.json": '{"caption": "a"}', "22.06.mp4": "", "22.06.txt": "b", "22.json": "{}"}
    first = shard(tmp_path / "0.tar", members)
    result = run(ImportConfig(dataset="webdataset", root=first, out=str(tmp_path / "out")))
    rows = read_manifest(str(result.manifest)).to_pylist()
    assert [(row["video_id"], row["video_uri"], row["expression"]) for row in rows] == [
        ("0__22.05", f"tar://22.05.mp4::{first}", "a"),
        ("0__22.06", f"tar://22.06.mp4::{first}", "b"),
    ]


def test_a_member_that_comes_again_is_said(tmp_path):
    """The last one counts, as in `tar` and where the video is read (WebDataset's issue 157 calls it an error)."""
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as tar:
        for name, text in (("a.mp4", ""), ("a.txt", "old"), ("a.txt", "new")):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    result = run(ImportConfig(dataset="webdataset", root=str(path), out=str(tmp_path / "out")))
    assert [row["expression"] for row in read_manifest(str(result.manifest)).to_pylist()] == ["new"]
    assert {one.reason: one.count for one in result.skipped} == {webdataset.REPEATED: 1}


def test_ids_of_labels_follow_the_rule_of_ids_and_no_entry_vanishes(tmp_path):
    entries = [{"text": "a", "expression_id": 7.0}, {"text": "b", "expression_id": "7.0"}, {"x": 1}, None, "c", 5]
    label = json.dumps({"video_id": 3, "expressions": entries})
    (video,) = webdataset.read(shard(tmp_path / "a.tar", {"a.mp4": "", "a.json": label}))
    assert (video.video_id, video.problems) == ("3", [])
    pairs = [(pair["expression_id"], pair["expression"]) for pair in video.pairs]
    assert pairs == [("7", "a"), ("7.0", "b"), ("0", "c")]
    assert [place[:7] for reason, place in video.skipped if reason == webdataset.NO_SENTENCE] == [
        "entry 3", "entry 4", "entry 6",
    ]  # fmt: skip


@pytest.mark.parametrize("id_", [1.5, True, False, {"a": 1}, ["x"]])
def test_labels_with_ids_of_other_kinds_are_refused(tmp_path, id_):
    for name in ("video_id", "expression_id"):
        sentence = {"text": "x"} | ({name: id_} if name == "expression_id" else {})
        label = {"expressions": [sentence]} | ({name: id_} if name == "video_id" else {})
        path = shard(tmp_path / f"{name}.tar", {"a.mp4": "", "a.json": json.dumps(label)})
        with pytest.raises(InputError, match=rf"a of .*: {name} is .*write a text or a whole number"):
            run(ImportConfig(dataset="webdataset", root=path, out=str(tmp_path / "out")))


def test_files_of_the_system_are_left_out(tmp_path):
    """The tar of macOS stores the attributes of a file as another one."""
    members = {"./._a.mp4": "\0\5\x16\7", "./a.mp4": "", "./._a.txt": "\0\5\x16\7", "./a.txt": "a dog"}
    (video,) = webdataset.read(shard(tmp_path / "0.tar", members | {"__MACOSX/a.mp4": "", "sub/.hidden/b.mp4": ""}))
    assert (video.video_id, [pair["expression"] for pair in video.pairs]) == ("0__.__a", ["a dog"])
    assert [reason for reason, _ in video.skipped] == [IS_SYSTEM] * 4


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_members_with_holes_are_named(tmp_path, form):
    """GNU tar --sparse leaves out what a file system stores as a hole: the bytes of a member are not those of its file.

    A video that was preallocated and not filled, or that cp made sparse, has holes.
    """
    (tmp_path / "a.mp4").write_bytes(b"whole")
    (tmp_path / "b.mp4").write_bytes(b"start")
    os.truncate(tmp_path / "b.mp4", 2**21)
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("a dog")
    command = ["tar", "--sparse", f"--format={form}", "-cf", "s.tar", "a.mp4", "a.txt", "b.mp4", "b.txt"]
    subprocess.run(command, cwd=tmp_path, check=True)
    if os.path.getsize(tmp_path / "s.tar") > 2**20:
        pytest.skip("this tar or file system knows no holes")
    with pytest.raises(MediaError, match=r"the archive \(the member is stored with holes; write the"):
        probe(f"tar://b.mp4::{tmp_path}/s.tar")
    result = run(ImportConfig(dataset="webdataset", root=str(tmp_path / "s.tar"), out=str(tmp_path / "out")))
    assert result.pairs == 1
    assert {one.reason: one.count for one in result.skipped} == {webdataset.SPARSE: 1, webdataset.NO_VIDEO: 1}
