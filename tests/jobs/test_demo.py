"""`rvos demo`: the whole path on its own data or a user's video, and no folder of somebody else's touched."""

import io
import json
import shlex
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from jobs import demo
from jobs.demo import SHAPES, DemoConfig
from pipeline.io import storage
from pipeline.video import probe
from schemas.errors import InputError

OLD = (demo.MARK, "run/masks/u", "scores/x", "masks.png", ".git/HEAD", "mine.txt")


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def rate_of(uri: str) -> Fraction | None:
    with av.open(io.BytesIO(storage.read_bytes(uri))) as container:
        return container.streams.video[0].average_rate


@pytest.fixture
def old_demo(tmp_path):
    for name in OLD:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_second_demo_moves_only_files_of_the_first_away(old_demo, monkeypatch):
    found = []
    monkeypatch.setattr(demo.segment, "run", lambda config: found.extend(files_in(old_demo)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        demo.run(DemoConfig(out=str(old_demo), video="docs/demo.png", expression=("x",)))
    assert [name for name in found if not name.startswith(".earlier/")] == [
        ".git/HEAD",
        "demo.txt",
        "manifest.parquet",
        "mine.txt",
    ]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_demo_that_fails_late_or_is_interrupted_leaves_the_last_result(old_demo, monkeypatch, error):
    def fail(config):
        for name in ("masks/new", "run.json"):
            storage.write_bytes(storage.join(config.run, name), b"")
        raise error

    monkeypatch.setattr(demo.segment, "run", fail)
    with pytest.raises(error):
        demo.run(DemoConfig(out=str(old_demo), video="docs/demo.png", expression=("x",)))
    assert files_in(old_demo) == sorted(OLD)


def test_two_demos_do_not_write_to_one_folder(old_demo, monkeypatch):
    config = DemoConfig(out=str(old_demo), video="docs/demo.png", expression=("x",))
    monkeypatch.setattr(demo.segment, "run", lambda _: demo.run(config))
    with pytest.raises(InputError, match="another command writes to .*; wait until it ends, or choose another --out"):
        demo.run(config)
    assert files_in(old_demo) == sorted(OLD)


def test_the_live_line_names_the_step(tmp_path, monkeypatch):
    shown: list[str] = []
    monkeypatch.setattr(demo, "update", shown.append)
    monkeypatch.setattr(demo.segment, "run", lambda config: SimpleNamespace(run=config.run))
    monkeypatch.setattr(demo.audit, "run", lambda config: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        demo.run(DemoConfig(out=str(tmp_path / "new"), video="docs/demo.png", expression=("x",)))
    assert shown == ["auditing the run"]


@pytest.mark.parametrize(
    "way", ["out/data/mine.mp4", "out/run/mine.mp4", "out/../out/data/mine.mp4", "link.mp4", "file"]
)
def test_a_video_among_the_files_that_a_demo_replaces_is_kept(shapes, tmp_path, monkeypatch, way):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / ("out/run/mine.mp4" if "run" in way else "out/data/mine.mp4")
    mine.parent.mkdir(parents=True)
    mine.write_bytes(sorted((Path(shapes[0]).parent / "videos").iterdir())[0].read_bytes())
    (tmp_path / "out" / demo.MARK).touch()
    (tmp_path / "link.mp4").symlink_to(mine)
    video = mine.as_uri() if way == "file" else way
    with pytest.raises(InputError, match="--video .* is in .*out, whose files the demo replaces; choose another --out"):
        demo.run(DemoConfig(out="out/", video=video, expression=("x",)))
    assert mine.exists()


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


def test_a_checkpoint_is_for_a_video():
    with pytest.raises(InputError, match="give --video with --checkpoint"):
        DemoConfig(checkpoint="checkpoint/")


def test_a_video_needs_its_sentence():
    with pytest.raises(InputError, match="got only one of --video and --expression; give both"):
        DemoConfig(video="clip.mp4")


def cut_off(shapes, tmp_path) -> str:
    content = sorted((Path(shapes[0]).parent / "videos").iterdir())[0].read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 3 // 4])
    return str(tmp_path / "cut.mp4")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"video": "nowhere.mp4"}, "nowhere.mp4 does not exist"),
        ({"video": "cut"}, "cut.mp4"),
        ({"expression": ("x", " ")}, "expression"),
        ({"expression": ("word " * 2000,)}, "tokens"),
        ({"checkpoint": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_replaced(shapes, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    for name in (demo.MARK, "masks.png"):
        (tmp_path / "out" / name).touch()
    video = str(sorted((Path(shapes[0]).parent / "videos").iterdir())[0])
    options = {"video": video, "expression": ("x",)} | options
    if options["video"] == "cut":
        options["video"] = cut_off(shapes, tmp_path)
    with pytest.raises(InputError, match=message):
        demo.run(DemoConfig(out="out", **options))
    assert (tmp_path / "out" / "masks.png").exists()


@pytest.mark.slow
@pytest.mark.ray
def test_demo_twice_shows_that_the_checkpoint_works(tmp_path, monkeypatch, capsys):
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
    assert "not the world" not in text
    assert "not the world" in capsys.readouterr().err
    assert result.reported.page in text
    words = shlex.split(text.splitlines()[-1])
    assert words[:4] == ["rvos", "demo", "--out", "demo-own"]
    assert Path(words[words.index("--video") + 1]).is_file()
    assert "clean: every pair is there exactly once" in text
    assert np.asarray(Image.open(result.picture)).std() > 10
    assert (probe(result.film).num_frames or 0) > 12


@pytest.mark.ray
@pytest.mark.parametrize("place", ["local", pytest.param("s3", marks=pytest.mark.s3)])
def test_a_video_of_ones_own(tmp_path, shapes, ray_session, request, place):
    video = sorted((Path(shapes[0]).parent / "videos").iterdir())[0]
    out, uri = str(tmp_path / "out"), str(video)
    if place == "s3":
        out, uri = (f"{request.getfixturevalue('s3')}/{name}" for name in ("demo", f"demo-{video.name}"))
        storage.write_bytes(uri, video.read_bytes())
    result = demo.run(DemoConfig(out=out, video=uri, expression=("the red circle", "the blue square")))
    assert result.exit_code == 0
    assert Image.open(io.BytesIO(storage.read_bytes(result.picture))).format == "PNG"
    assert result.scored is None
    assert result.film is not None
    assert (probe(result.film).num_frames, rate_of(result.film)) == (2 * 12, rate_of(str(video)))
    assert "scores" not in result.text()
