"""Shards of videos with sentences, listed without extracting them."""

import io
import json
import tarfile

import pytest

from jobs.import_dataset import ImportConfig, run
from pipeline.datasets import webdataset
from pipeline.io.manifest import read_manifest
from schemas.errors import InputError


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
