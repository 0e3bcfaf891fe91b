"""Tables for papers have the numbers of the JSON output, and no text of a user can break them."""

import csv
import io
import json
import re

import pytest
from click.testing import CliRunner

from cli import main
from jobs.config.evaluate import EvaluateConfig
from pipeline.report.score_tables import TABLE_FORMATS, Measured, ScoreTable, escape_csv, escape_latex, escape_markdown
from schemas.errors import InputError
from tests.jobs.test_protocol_means import evaluated
from tests.page import HOSTILE

NASTY = 'a_b & 5% {x} ~^\\ #1 $y$ <b>"q"</b> | *c* `d` [e](f)\nline'


def rvos(*words) -> str:
    done = CliRunner().invoke(main, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return done.stdout


def cells_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_keeps_every_digit_and_text():
    table = ScoreTable(["entry", "J&F", "p"], [[NASTY, Measured(1 / 3, 0.1, 0.7), None], ["b", Measured(None), 1e-17]])
    first, second = cells_of(TABLE_FORMATS["csv"](table))
    assert (first["entry"], float(first["J&F"]), float(first["J&F high"])) == (NASTY, 1 / 3, 0.7)
    assert (first["p"], second["J&F"], second["J&F low"], float(second["p"])) == ("", "", "", 1e-17)


def test_latex_and_markdown_escape_what_they_would_read():
    table = ScoreTable(["entry", "J&F"], [[NASTY, Measured(-0.25, -0.5, 0.0)], [HOSTILE, Measured(0.5)]], ["a\nb"])
    latex = TABLE_FORMATS["latex"](table).splitlines()
    assert latex[0] == "% a b"
    assert "\\begin{tabular}{lr}" in latex
    assert "entry & J\\&F \\\\" in latex
    assert latex[6].endswith(r" & $-$0.2500 [$-$0.5000, 0.0000] \\")
    assert r"a\_b \& 5\% \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{} \#1 \$y\$ \textless{}b" in latex[6]
    assert escape_latex("\\_") == r"\textbackslash{}\_"
    markdown = TABLE_FORMATS["markdown"](table).splitlines()
    assert len({line.replace("\\|", "").count("|") for line in markdown[:4]}) == 1
    assert "<" not in "".join(markdown)
    assert escape_markdown("[e](f) | *c*") == r"\[e\]\(f\) \| \*c\*"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"), ("+SUM(A1)", "'+SUM(A1)"), ("-2+3", "'-2+3"), ("@x", "'@x"), ("\t=1", "'\t'=1"),
        (" =1", "' =1"), ('"=1', "'\"=1"), ("a\n=1", "a\n'=1"), ("a;=1", "a;'=1"), ("\uff1d1", "'\uff1d1"),
        ("\ufeff=1", "\\ufeff=1"), ("\r=1", "\\r=1"), ("-inf", "'-inf"),
        ("-0.25", "-0.25"), ("+1e-17", "+1e-17"), ("a=b", "a=b"), ("a - b", "a - b"), ("a, -b; c", "a, -b; c"),
    ],
)  # fmt: skip
def test_no_cell_is_a_formula(text, cell):
    assert escape_csv(text) == cell
    table = ScoreTable([text, "J&F"], [[text, Measured(-0.5, -1.0, 0.25)]])
    assert list(csv.reader(io.StringIO(TABLE_FORMATS["csv"](table), newline=""))) == [
        [cell, "J&F", "J&F low", "J&F high"], [cell, "-0.5", "-1.0", "0.25"]
    ]  # fmt: skip


def test_no_text_is_a_command_or_a_link():
    assert escape_latex(r"\input{x}\write18{y}$z$%^^5c") == (
        r"\textbackslash{}input\{x\}\textbackslash{}write18\{y\}\$z\$\%\textasciicircum{}\textasciicircum{}5c"
    )
    # `\\` and `\midrule`, which end the line above, would take these for their options.
    assert escape_latex("[9cm] *") == "{[}9cm{]} {*}"
    assert escape_latex("a? ?`b !`c ,,d") == "a? ?{}`b !{}`c ,{},d"  # not ¿, ¡ and a low quote
    assert escape_latex("a---b ``c'' d-e") == "a-{}-{}-b `{}`c'{}' d-e"
    note = TABLE_FORMATS["latex"](ScoreTable(["a"], [], ["x\n\\input{y}\r\nz\x1b"])).splitlines()[0]
    assert note == r"% x \input{y} z\x1b"
    for text, escaped in {
        "![x](http://e/x.png)": r"\!\[x\]\(http\://e/x.png\)",
        "[a](javascript:alert(1))": r"\[a\]\(javascript:alert\(1\)\)",
        "<img src=x onerror=y>": "&lt;img src=x onerror=y&gt;",
        "&lt;b&#124;": r"&amp;lt;b&amp;\#124;",
        "WWW.e.com $x$ 1. a": r"WWW\.e.com \$x\$ 1\. a",
    }.items():
        assert escape_markdown(text) == escaped


def test_the_commands_print_the_numbers_of_the_json_output(tmp_path):
    pairs = [(f"v{n}", 2, n % 2, 3 + n % 5, 4 + n % 3) for n in range(8)]
    folders = evaluated(tmp_path, "revos", pairs)
    inputs = [f"{tmp_path}/A.parquet", f"{tmp_path}/annotations.parquet", "--manifest", f"{tmp_path}/manifest.parquet"]
    words = ["evaluate", *inputs, "--out", tmp_path / "s", "--protocol", "all-frames", "--by", "type_id"]
    summary = json.loads(rvos(*words, "--json"))
    rows = cells_of(rvos(*words, "--format", "csv"))
    assert [row["value"] for row in rows] == ["overall", "0", "1"]
    for row, found in zip(rows, [summary["overall"], *summary["by"]["type_id"]], strict=True):
        assert float(row["J&F"]) == found["J&F"]
        ends = found["interval"]["J"]
        assert (
            (row["J low"], row["J high"]) == ("", "")
            if ends is None
            else [float(row["J low"]), float(row["J high"])] == ends
        )
    assert f"{summary['overall']['J&F']:.4f}" in rvos(*words, "--format", "latex")

    change = json.loads(rvos("compare", *folders, "--json"))["comparisons"][0]
    row = cells_of(rvos("compare", *folders, "--format", "csv"))[0]
    assert (float(row["baseline"]), float(row["change"])) == (change["baseline"], change["difference"])
    assert (row["p"], change["p"], change["low"]) == ("", None, None)  # four videos of each type
    assert f"Baseline {folders[0]}, protocol revos".replace("_", "\\_").replace("-", "\\-") in rvos(
        "compare", *folders, "--format", "markdown"
    )

    for name, folder in zip("AB", folders, strict=True):
        rvos("leaderboard", "add", tmp_path / "board", folder, "--name", name)
    entries = json.loads(rvos("leaderboard", "show", tmp_path / "board", "--json"))["entries"]
    rows = cells_of(rvos("leaderboard", "show", tmp_path / "board", "--format", "csv"))
    assert [float(row["J&F"]) for row in rows] == [entry["overall"]["J&F"] for entry in entries]
    rvos("leaderboard", "export", tmp_path / "board", tmp_path / "b.csv")
    assert cells_of((tmp_path / "b.csv").read_text()) == rows
    rvos("leaderboard", "export", tmp_path / "board", tmp_path / "b.tex")
    assert "\\toprule" in (tmp_path / "b.tex").read_text()


def test_one_form_of_output_is_asked_for(tmp_path):
    done = CliRunner().invoke(main, ["compare", "a", "b", "--json", "--format", "csv"])
    assert (done.exit_code, "give one of them" in done.output) == (2, True)
    with pytest.raises(InputError, match="unknown --format 'word'"):
        EvaluateConfig(predictions="a", annotations="b", out="c", print_as="word")


def numbers_of(form: str, text: str) -> list[list[str]]:
    """Return the numbers of each row of a table, as printed."""
    if form == "csv":
        rows = list(csv.reader(io.StringIO(text)))[1:]
        return [[cell for cell in row if re.fullmatch(r"-?\d[\d.e+-]*", cell)] for row in rows]
    marks = {"latex": ("&", "$-$"), "markdown": ("|", "−")}[form]
    rows = [line for line in text.splitlines() if marks[0] in line and not line.startswith("%")]
    plain = [row.replace(marks[1], "-").replace("\\", "") for row in rows]
    return [re.findall(r"(?<![\w.-])-?\d+(?:\.\d+)?(?![\w.])", row) for row in plain][1 if form == "latex" else 2 :]


@pytest.mark.parametrize("form", ["csv", "latex", "markdown"])
def test_every_number_is_that_of_the_json_output(form, tmp_path):
    """To the digits printed: all of them in CSV, else four decimals."""
    pairs = [(f"v{n}", 2, n % 2, 3 + n % 5, 4 + n % 3) for n in range(8)]
    folders = evaluated(tmp_path, "revos", pairs)
    for name, folder in zip("AB", folders, strict=True):
        rvos("leaderboard", "add", tmp_path / "board", folder, "--name", name)
    inputs = [f"{tmp_path}/A.parquet", f"{tmp_path}/annotations.parquet", "--manifest", f"{tmp_path}/manifest.parquet"]
    commands = {
        "evaluate": ["evaluate", *inputs, "--out", tmp_path / "s", "--by", "type_id"],
        "compare": ["compare", *folders, "--by", "type_id"],
        "leaderboard": ["leaderboard", "show", tmp_path / "board"],
    }
    for name, words in commands.items():
        expected = flat_rows(name, json.loads(rvos(*words, "--json")))
        printed = numbers_of(form, rvos(*words, "--format", form))
        assert len(printed) == len(expected)
        for texts, values in zip(printed, expected, strict=True):
            wanted = [f"{value:.4f}" if isinstance(value, float) and form != "csv" else str(value) for value in values]
            assert texts == wanted


def flat_rows(command: str, found: dict) -> list[list]:
    """Return the numbers of the JSON output in the order of the tables; what is unknown has no cell."""
    if command == "compare":
        (one,) = found["comparisons"]
        groups = [(row["value"], row) for rows in one["by"].values() for row in rows]
        rows = [
            [value, row["pairs"], row["videos"]]
            + ([one["baseline"], one["value"]] if row is one else [])
            + [row[key] for key in ("difference", "low", "high", "p", "p_corrected", "smallest")]
            for value, row in [("", one), *groups]
        ]
    elif command == "evaluate":
        groups = [(row["value"], row) for rows in found["by"].values() for row in rows]
        rows = [[value, row["n"], row["videos"], *measured(row)] for value, row in [("", found["overall"]), *groups]]
    else:
        rows = [[entry["rank"], *measured(entry["overall"]), 0, entry["p_against_first"]] for entry in found["entries"]]
    return [[int(v) if isinstance(v, str) and v.isdigit() else v for v in row if v not in (None, "")] for row in rows]


def measured(row: dict) -> list:
    intervals = row["interval"]
    return [number for name in intervals for number in (row[name], *(intervals[name] or ()))]
