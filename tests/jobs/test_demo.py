"""`rvos demo`: the whole path on its own data or a user's video, and no folder of somebody else's touched."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import demo
from jobs.demo import SHAPES, DemoConfig
from pipeline.io import storage
from pipeline.video import probe
from schemas.errors import InputError


def test_a_second_demo_removes_only_files_of_the_first(tmp_path, monkeypatch):
    for name in (demo.MARK, "run/masks/u", "scores/x", "masks.png", ".git/HEAD", "mine.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(demo.segment, "run", lambda config: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        demo.run(DemoConfig(out=str(tmp_path), video="docs/demo.png", expression="x"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git", "demo.txt", "manifest.parquet", "mine.txt"]
    assert (tmp_path / ".git/HEAD").exists()


@pytest.mark.parametrize(
    ("path", "message"), [("out/mine.txt", "choose a new or empty folder"), ("out", "is a file; name a folder")]
)
def test_other_folders_are_left_alone(tmp_path, path, message):
    mine = tmp_path / path
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match=message):
        demo.run(DemoConfig(out=str(tmp_path / "out")))
    assert mine.read_text() == "mine"


def test_a_video_needs_its_sentence():
    with pytest.raises(InputError, match="got only one of --video and --expression; give both"):
        DemoConfig(video="clip.mp4")


def test_a_video_that_is_not_there_is_told_before_anything_is_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / demo.MARK).touch()
    with pytest.raises(InputError, match="nowhere.mp4 does not exist"):
        demo.run(DemoConfig(out=str(tmp_path / "out"), video=str(tmp_path / "nowhere.mp4"), expression="x"))
    assert (tmp_path / "out" / demo.MARK).exists()


@pytest.mark.slow
@pytest.mark.ray
def test_demo_twice_shows_that_the_checkpoint_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "SHAPES", replace(SHAPES, videos=12))
    for _ in range(2):
        result = demo.run(DemoConfig())
        assert result.out == str(tmp_path / "rvos-demo")
        assert result.exit_code == 0
    assert result.segmented.there_before == 0
    assert result.scored is not None
    assert result.scored.summary["overall"]["J&F"] > 0.5
    assert json.loads(json.dumps(result.to_json()))["segment"]["is_bundled"]
    assert result.reported is not None
    assert "<h1" in Path(result.reported.page).read_text()
    text = result.text()
    assert "not the world" in text
    assert result.reported.page in text
    assert "clean: every pair is there exactly once" in text
    assert np.asarray(Image.open(result.picture)).std() > 10
    assert (probe(result.film).num_frames or 0) > 12


@pytest.mark.ray
@pytest.mark.parametrize("place", ["local", pytest.param("s3", marks=pytest.mark.s3)])
def test_a_video_of_ones_own(tmp_path, shapes, ray_session, request, place):
    video = sorted((Path(shapes[0]).parent / "videos").iterdir())[0]
    out = str(tmp_path / "out") if place == "local" else f"{request.getfixturevalue('s3')}/demo"
    result = demo.run(DemoConfig(out=out, video=str(video), expression="the red circle"))
    assert result.exit_code == 0
    assert Image.open(io.BytesIO(storage.read_bytes(result.picture))).format == "PNG"
    assert result.scored is None
    assert probe(result.film).num_frames == 12
    assert "scores" not in result.text()
