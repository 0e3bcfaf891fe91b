"""`rvos leaderboard` from real scores to what it prints and exports."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cli import main
from jobs.leaderboard import _shorten

METRICS = ("pred.parquet", "gt.parquet")
HOSTILE = "<script>alert('x')<∕script> | *b* `c` \"d\""


def rvos(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def board(golden, tmp_path_factory):
    """Three entries: the golden predictions, the truth itself, and nothing at all in half of the frames."""
    folder = tmp_path_factory.mktemp("leaderboard")
    truth = golden / "metrics" / "gt.parquet"
    halved = pq.read_table(golden / "metrics" / "pred.parquet")
    pq.write_table(halved.filter([index % 2 == 0 for index in halved["frame_index"].to_pylist()]), folder / "h.parquet")
    for name, predictions in (
        ("golden", golden / "metrics" / "pred.parquet"),
        ("truth", truth),
        ("h", folder / "h.parquet"),
    ):
        done = rvos("evaluate", predictions, truth, "--out", folder / name)
        assert done.exit_code in (0, 1), done.output
        added = rvos("leaderboard", "add", folder / "board", folder / name, "--name", HOSTILE if name == "h" else name)
        assert added.exit_code == 0, added.output
    return folder / "board"


def test_show(board):
    text = rvos("leaderboard", "show", board).output
    lines = text.splitlines()
    assert max(map(len, lines[1:])) <= 80
    assert [line.split()[1] for line in lines[5:7]] == ["truth", "golden"]
    found = json.loads(rvos("leaderboard", "show", board, "--json").output)
    assert [entry["rank"] for entry in found["entries"]] == [1, 2, 3]
    assert re.search(r"a set of \d+ videos has none of a kind that is one in 20 with probability", found["notes"][0])
    assert " ".join(text.split()).endswith(found["notes"][0])
    assert found["rule"]["protocol"] == "all-frames"
    assert found["entries"][0]["overall"]["J&F"] == 1.0
    assert found["entries"][2]["frames"]["missing"] > 0
    assert len({entry["truth_hash"] for entry in found["entries"]}) == 1
    assert len({entry["predictions_hash"] for entry in found["entries"]}) == 3


def test_scores_of_another_protocol_are_refused(board, golden, tmp_path):
    predictions, truth = (golden / "metrics" / name for name in METRICS)
    rvos("evaluate", predictions, truth, "--out", tmp_path / "s", "--protocol", "davis-semisupervised")
    refused = rvos("leaderboard", "add", board, tmp_path / "s", "--name", "other")
    assert refused.exit_code == 2
    assert "protocol is 'davis-semisupervised' here and 'all-frames' there" in refused.output
    assert "Traceback" not in refused.output


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def test_export(board, tmp_path):
    for suffix in ("html", "md", "json"):
        done = rvos("leaderboard", "export", board, tmp_path / f"b.{suffix}")
        assert done.exit_code == 0, done.output
        assert f"b.{suffix}" in done.output
    page = (tmp_path / "b.html").read_text()
    parsed = Tags(page)
    assert "script" not in parsed.tags
    assert HOSTILE in "".join(parsed.text)
    assert "http:" not in page.replace("http-equiv", "")
    assert "https:" not in page
    table = (tmp_path / "b.md").read_text().splitlines()
    assert len({line.replace("\\|", "").count("|") for line in table[:5]}) == 1
    assert "<script" not in "".join(table)
    assert r"\*b\*" in table[4]
    assert r"\`c\`" in table[4]
    document = json.loads((tmp_path / "b.json").read_text())
    assert [entry["name"] for entry in document["entries"]] == ["truth", "golden", HOSTILE]


def test_export_to_what_nobody_knows(board, tmp_path):
    done = rvos("leaderboard", "export", board, tmp_path / "b.pdf")
    assert done.exit_code == 2
    assert "choose from .html, .json, .md, .csv, .tex" in done.output


@pytest.mark.s3
def test_on_s3(board, s3, tmp_path):
    store = f"{s3}/{tmp_path.name}/board"
    for name in ("golden", "truth"):
        assert rvos("leaderboard", "add", store, Path(board).parent / name, "--name", name).exit_code == 0
    assert rvos("leaderboard", "export", store, f"{s3}/{tmp_path.name}/b.md").exit_code == 0
    assert "2  golden" in rvos("leaderboard", "show", store).output


def test_long_names_keep_their_ends():
    assert _shorten("ReferFormer, ResNet-50", 16) == "ReferFo…esNet-50"
    assert _shorten("golden", 16) == "golden"


@pytest.mark.parametrize("form", ["html", "json", "md", "csv", "tex"])
def test_an_export_replaces_only_one_of_the_same_leaderboard(board, golden, tmp_path, form):
    file = tmp_path / f"board.{form}"
    assert rvos("leaderboard", "export", board, file).exit_code == 0
    assert rvos("leaderboard", "export", board, file).exit_code == 0
    before = file.read_bytes()
    protocol = ["--protocol", "davis-semisupervised"]
    rvos("evaluate", *(golden / "metrics" / name for name in METRICS), "--out", tmp_path / "s", *protocol)
    assert rvos("leaderboard", "add", tmp_path / "b<&", tmp_path / "s", "--name", "x").exit_code == 0
    done = rvos("leaderboard", "export", tmp_path / "b<&", file)
    if form == "csv":  # tables of the same metrics look alike
        file.write_text("date,km\n1,2\n")
        before = file.read_bytes()
        done = rvos("leaderboard", "export", board, file)
    assert done.exit_code == 2, done.output
    assert f"board.{form} exists and was not made of the same; remove it, or choose another path" in done.output
    assert file.read_bytes() == before
    for _ in range(2):
        assert rvos("leaderboard", "export", tmp_path / "b<&", tmp_path / f"other.{form}").exit_code == 0
