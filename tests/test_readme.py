"""Commands, code and output in the README match what the program does."""

import re
import shlex
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
DOCS = "".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))
WRITE, READ = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
WALK_THROUGH, PRINTED = re.findall(r"```\n(.*?)```", TEXT.partition("## From a data set to a score")[2], re.DOTALL)[:2]
NUMBER = r"\d+\.?\d*"


@pytest.fixture
def run(shapes, checkpoint, tmp_path) -> Path:
    """Folder with the masks of one unit; one of its videos is missing."""
    from model.families import load_segmenter
    from pipeline.segment.clips import FrameOptions
    from pipeline.segment.events import UnitJob
    from tests.one_unit import segment_unit

    folder = Path(shapes[0]).parent
    rows = pq.read_table(shapes[0]).slice(0, 1).to_pylist()
    rows = [row | {"video_uri": str(folder / row["video_uri"])} for row in rows]
    rows.append(rows[0] | {"video_id": "gone", "video_uri": str(folder / "gone.mp4")})
    uri = tmp_path / "runs/first/masks/u.parquet"
    segmenter = load_segmenter(checkpoint, short_side=64, device="cpu")
    segment_unit(UnitJob(unit_id="u", fingerprint="f", uri=str(uri), rows=rows), segmenter, FrameOptions(window=6))
    return tmp_path


def test_reading_masks(run, monkeypatch, capsys):
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


def check_scores(output: str, shown: str) -> None:
    """Check that the lines `shown` are part of `output`, up to a unit in the last digit of a score.

    Another CPU may round a mean differently.
    """
    lines, printed = shown.splitlines(), output.splitlines()
    start = printed.index(lines[0])
    found = "\n".join(printed[start : start + len(lines)])
    assert re.sub(NUMBER, "0", found) == re.sub(NUMBER, "0", "\n".join(lines))
    for expected, number in zip(re.findall(NUMBER, shown), re.findall(NUMBER, found), strict=True):
        decimals = len(expected.partition(".")[2])
        assert abs(float(number) - float(expected)) <= (1.1 * 10.0**-decimals if decimals else 0), found


@pytest.mark.slow
@pytest.mark.ray
def test_walk_through_from_a_data_set_to_a_score(ray_session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = {}
    for line in WALK_THROUGH.splitlines():
        result = CliRunner().invoke(main, shlex.split(line)[1:], catch_exceptions=False)
        assert result.exit_code == 0, (line, result.output)
        printed[line.split()[1]] = result.stdout
    check_scores(printed["evaluate"], PRINTED)
    for path in re.findall(r"^Open `([^`]+)`.* `([^`]+\.html)`", TEXT, re.MULTILINE)[0]:
        assert Path(path).is_file()


@pytest.mark.slow
@pytest.mark.ray
def test_scores_of_the_demo(ray_session, tmp_path):
    result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "demo")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    shown = re.findall(r"```\n(.*?)```", (ROOT / "docs/demo.md").read_text(), re.DOTALL)[0]
    check_scores(result.stdout, shown[shown.index("              n") : shown.index("note        by kind")])


@pytest.mark.parametrize("schema", [MANIFEST, PREDICTIONS], ids=["manifest", "predictions"])
def test_every_column_is_documented(schema: pa.Schema):
    assert [name for name in schema.names if f"`{name}`" not in TEXT] == []


def test_every_command_is_documented():
    table = TEXT.partition("## Commands")[2].partition("## What you can rely on")[0]
    assert set(re.findall(r"^\| `rvos ([a-z]+)", table, re.MULTILINE)) == set(main.commands)


def test_every_command_shown_exists_with_its_options():
    shown = re.findall(r"^(?:\| `)?rvos ([a-z]+(?: [a-z0-9-]+)?)([^`|\n]*)", TEXT + DOCS, re.MULTILINE)
    assert len(shown) > 60
    for words, arguments in shown:
        name, _, inner = words.partition(" ")
        within = [inner] if isinstance(main.commands[name], click.Group) and inner else []
        text = CliRunner().invoke(main, [name, *within, "--help"]).output
        assert all(option in text for option in re.findall(r"--[a-z-]*[a-z]", arguments.partition(" -- ")[0])), words


def test_the_two_commands_are_in_the_makefile_and_in_ci():
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}: " in makefile for target in ("demo", "test", "check"))
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_relative_links_lead_to_files():
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "model/tiny/MODEL_CARD.md")]
    for page in [*pages, *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)
