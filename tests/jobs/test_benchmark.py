"""`rvos benchmark` refuses wrong arguments before it starts, and its errors name a command that can be typed."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from cli import main
from jobs import import_dataset, segment
from jobs.benchmark import with_way_out
from jobs.config.benchmark import BenchmarkConfig
from jobs.config.segment import SegmentConfig
from jobs.terminal.command_line import typed_command
from pipeline.io import output_folder
from schemas.errors import InputError

TINY = str(Path(__file__).parents[2] / "model/tiny")


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "readme.txt").write_text("a data set")
    return folder


def refused(*words: object) -> str:
    """The one line that says why."""
    result = CliRunner().invoke(main, ["benchmark", *map(str, words)])
    assert result.exit_code == 2
    *commands, line = result.output.strip().splitlines()
    assert all(command.startswith("$ rvos ") for command in commands)
    return line


def test_a_checkpoint_that_is_missing_is_found_before_the_import(root, tmp_path):
    text = refused("mevis", root, "--checkpoint", tmp_path / "gone", "--out", tmp_path / "out")
    assert "a checkpoint is a folder with config.json" in text
    assert not (tmp_path / "out").exists()


def test_a_root_that_is_missing(tmp_path):
    text = refused("mevis", tmp_path / "gone", "--checkpoint", TINY, "--out", tmp_path / "out")
    assert f"ROOT {tmp_path}/gone is not a folder" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("below", ["", "inner"])
def test_results_stay_out_of_the_data_set(root, below):
    assert "which must not change" in refused("mevis", root, "--checkpoint", TINY, "--out", root / below)
    assert [path.name for path in root.iterdir()] == ["readme.txt"]


def test_swapped_folders_and_foreign_ones(root, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    assert "is an empty folder, not the folder of a data set" in refused(
        "mevis", other, "--checkpoint", TINY, "--out", root
    )
    (other / "readme.txt").touch()
    text = refused("mevis", other, "--checkpoint", TINY, "--out", root)
    assert "is not empty and has no _export.json (it holds readme.txt); choose a new or empty folder" in text
    assert [path.name for path in root.iterdir()] == ["readme.txt"]


@pytest.mark.parametrize("change", ["name", "root", "split"])
def test_a_folder_is_of_one_benchmark_and_one_data_set(root, tmp_path, change):
    out = tmp_path / "out"
    refused("mevis", root, "--checkpoint", TINY, "--out", out)  # no data set there
    assert not out.exists()
    output_folder.claim(str(out), {"dataset": "mevis", "root": str(root), "split": "valid_u"})
    (out / "data").mkdir()
    other = shutil.copytree(root, tmp_path / "other") if change == "root" else root
    more = ["--split", "valid"] if change == "split" else []
    text = refused("revos" if change == "name" else "mevis", other, "--checkpoint", TINY, "--out", out, *more)
    assert "was made with different options" in text
    assert {"name": "dataset", "root": "root", "split": "split"}[change] + ":" in text


def test_options_that_a_step_advises_are_those_of_its_command():
    command = "rvos evaluate run truth.parquet"
    assert (
        with_way_out("empty; use --force", command)
        == f"empty; use --force; for --force type the step yourself: {command}"
    )
    assert with_way_out("give --short-side below 100", command) == "give --short-side below 100"


def test_commands_can_be_typed():
    options = {"manifest": "my data/m.parquet", "run": "r", "window": "whole", "limit": 3}
    assert typed_command("segment", SegmentConfig, options) == (
        "rvos segment 'my data/m.parquet' r --limit 3 --window whole"
    )


def test_a_size_or_window_beside_the_rules_is_a_difference():
    options = {"name": "ref-davis17", "root": "r", "checkpoint": "c", "out": "o"}
    config = SegmentConfig(
        manifest="", run="", **BenchmarkConfig(**options, window="12", short_side=96).segment_options()
    )
    assert (config.rules, config.window, config.published.exclusive) == ("ref-davis17", "12", True)
    assert config.differences == {
        "window": {"published": "36", "run": "12"},
        "short_side": {"published": 360, "run": 96},
    }
    same = BenchmarkConfig(**options, window="36", short_side=360).segment_options()
    assert SegmentConfig(manifest="", run="", **same).differences == {}


@pytest.fixture
def flat(tmp_path) -> Path:
    """Ref-YouTube-VOS without folders of splits."""
    folder = tmp_path / "flat"
    (folder / "JPEGImages/a").mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(folder / "JPEGImages/a/00000.jpg")
    expressions = {"a": {"expressions": {"0": {"exp": "a cat"}}, "frames": ["00000"]}}
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": expressions}))
    return folder


def test_a_data_set_without_splits_needs_no_split(flat, tmp_path, monkeypatch):
    def stop(_):
        raise InputError("as far as this")

    monkeypatch.setattr(segment, "run", stop)
    words = ["ref-youtube-vos", flat, "--checkpoint", TINY, "--out", tmp_path / "out"]
    assert "as far as this" in refused(*words)
    assert (tmp_path / "out/data/manifest.parquet").exists()
    assert "has no splits" in refused(*words[:4], "--out", tmp_path / "other", "--split", "valid")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("not usable")])
def test_nothing_is_left_of_a_benchmark_that_did_nothing(flat, tmp_path, monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr(import_dataset, "run", fail)
    words = ["benchmark", "ref-youtube-vos", flat, "--checkpoint", TINY, "--out", tmp_path / "new/out"]
    assert CliRunner().invoke(main, [*map(str, words)]).exit_code in (2, 130)
    assert not (tmp_path / "new").exists()
