"""What the README shows works as it is printed."""

import re
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cli import main
from schemas.manifest import MANIFEST
from schemas.masks import PREDICTIONS

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()
DOCS = "".join((ROOT / "docs" / name).read_text() for name in ("export.md", "pseudo-labelling.md", "selection.md"))
WRITE, READ = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def run(shapes, checkpoint, tmp_path) -> Path:
    """One unit of a run, with a video that is missing."""
    from model.referformer.checkpoint import load_segmenter
    from pipeline.runs.commit import Receipt
    from pipeline.segment.clips import FrameOptions
    from pipeline.segment.unit import UnitJob, segment_unit

    folder = Path(shapes[0]).parent
    rows = pq.read_table(shapes[0]).slice(0, 1).to_pylist()
    rows = [row | {"video_uri": str(folder / row["video_uri"])} for row in rows]
    rows.append(rows[0] | {"video_id": "gone", "video_uri": str(folder / "gone.mp4")})
    uri = tmp_path / "runs/first/masks/u.parquet"
    segmenter = load_segmenter(checkpoint, short_side=64, device="cpu")
    segment_unit(UnitJob(str(uri), rows), Receipt("u", "f"), segmenter, FrameOptions(window=6))
    return tmp_path


def test_reading_masks_in_ones_own_program(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    exec(compile(READ, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 13
    assert lines[0].startswith("shapes-0000 0 00000 ")
    assert lines[-1].startswith("video_id=gone expression_id=0: ")
    assert len(READ.splitlines()) <= 11


def test_writing_a_manifest(tmp_path, monkeypatch):
    from pipeline.io.manifest import read_manifest

    monkeypatch.chdir(tmp_path)
    exec(compile(WRITE, "README.md", "exec"), {})
    assert read_manifest("manifest.parquet").num_rows == 1


@pytest.mark.parametrize("schema", [MANIFEST, PREDICTIONS], ids=["manifest", "predictions"])
def test_every_column_is_told(schema: pa.Schema):
    assert [name for name in schema.names if f"`{name}`" not in TEXT] == []


def test_every_command_shown_exists_with_its_options():
    shown = re.findall(r"^(?:\| `)?rvos ([a-z]+(?: [a-z-]+)?)([^`|\n]*)", TEXT + DOCS, re.MULTILINE)
    assert {name.partition(" ")[0] for name, _ in shown} >= {"import", "check", "convert", "segment", "evaluate"}
    for words, arguments in shown:
        name, _, inner = words.partition(" ")
        within = [inner] if isinstance(main.commands[name], click.Group) else []
        text = CliRunner().invoke(main, [name, *within, "--help"]).output
        assert all(option in text for option in re.findall(r"--[a-z-]+", arguments)), name


def test_the_two_commands_are_in_the_makefile_and_in_ci():
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}: " in makefile for target in ("demo", "test", "check"))
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_the_picture_is_there():
    assert all((ROOT / path).is_file() for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT))
