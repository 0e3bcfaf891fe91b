"""Messages stay short, whatever names and values of others they quote."""

import pytest
from click.testing import CliRunner

from cli import main
from schemas.check import Problem, SchemaError
from schemas.errors import InputError, MediaError, StorageError
from schemas.shown import bounded

LONG = "x" * 1_000_000


@pytest.mark.parametrize(
    "error",
    [
        InputError(f"id {LONG!r} cannot be a file name"),
        StorageError(f"{LONG} failed"),
        MediaError("missing", f"/data/{LONG} does not exist", LONG),
        SchemaError([Problem(LONG, None, f"{LONG} is odd"), Problem("a", 1, "word " * 200_000)]),
    ],
)
def test_names_without_an_end_are_cut_in_every_error(error):
    assert len(str(error)) < 20_000
    assert "x" * 90 in str(error)
    assert "xxx..." in str(error)


def test_usual_texts_stay_as_they_are():
    text = "\n".join(f"row {number}: /data/{'d' * 200}/v.mp4 does not exist" for number in range(1000))
    assert bounded(text) == text


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_name_of_a_megabyte_does_not_fill_the_terminal(tmp_path, form):
    path = tmp_path / f"l.{form}"
    name = LONG[:100_000]
    path.write_text(
        f"video_uri,{name}\na.mp4,x\n"
        if form == "csv"
        else f'{{"video_uri":"a.mp4","expression":"x","video_id":"{name}"}}\n'
    )
    result = CliRunner().invoke(main, ["import", "list", str(path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert len(result.output) < 2000
