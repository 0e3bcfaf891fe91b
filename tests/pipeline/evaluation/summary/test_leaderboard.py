"""The folder behind a leaderboard: one rule, first writer wins, nothing outside the folder, locally and on S3."""

import json
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.evaluation.summary.leaderboard import Leaderboard
from pipeline.evaluation.summary.outputs import score_rows
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.io import parquet, storage
from schemas.errors import InputError

VIDEOS = 30


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def store(request, tmp_path):
    return str(tmp_path / "board") if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"


def scores(folder, gain=0.0, seed=0, **summary):
    """A folder as `rvos evaluate` writes it: 60 pairs of 30 videos."""
    rng = np.random.default_rng(1)
    base = np.clip(0.5 + 0.15 * np.repeat(rng.standard_normal(VIDEOS), 2), 0, 1)
    values = base + gain + 0.01 * np.random.default_rng(seed).standard_normal(2 * VIDEOS)
    ids = {"video_id": [f"v{n // 2:02}" for n in range(2 * VIDEOS)], "expression_id": [str(n % 2) for n in range(60)]}
    rows = pd.DataFrame({**ids, "object_id": None, "annotator": None, "J&F": values})
    overall = {"n": 60, "videos": VIDEOS, "J&F": float(values.mean()), "interval": {"J&F": [0.4, 0.6]}}
    document = {
        "version": "0.1.0", "protocol": "mevis", "protocol_confirmed": False, "missing_rule": "zero",
        "void_pixels": False, "truth_hash": "sha256:aa", "predictions_hash": f"sha256:{seed}",
        "run_fingerprint": None,
        "pairs": {"scored": 60, "failed": 0, "missing": 0, "misshaped": 0}, "frames": {"scored": 600, "missing": 0},
        "overall": overall,
    }  # fmt: skip
    storage.write_bytes(str(folder / "summary.json"), json.dumps(document | summary).encode())
    parquet.write_table(str(folder / "scores.parquet"), score_rows(rows, ["J&F"], []))
    return ScoreFolder.open(str(folder))


def test_ranks_with_what_can_be_told_apart(store, tmp_path):
    for name, gain, seed in (("weak", 0.0, 1), ("strong", 0.2, 2), ("strong too", 0.2, 3)):
        Leaderboard.add(store, name, scores(tmp_path / name, gain, seed))
    standings = Leaderboard.open(store).standings()
    first, second, third = standings
    assert {first["name"], second["name"]} == {"strong", "strong too"}
    assert [entry["rank"] for entry in standings] == [1, 2, 3]
    assert first["p_against_first"] is None
    assert second["p_against_first"] > 0.05 > 0.001 > third["p_against_first"]
    assert third["predictions_hash"] == "sha256:1"
    assert json.loads(json.dumps(standings)) == standings
    assert storage.names(store) == ["entries", "leaderboard.json"]


def test_equal_entries_share_a_rank(tmp_path):
    for name in ("one", "two"):
        Leaderboard.add(str(tmp_path / "board"), name, scores(tmp_path / "same"))
    assert [entry["rank"] for entry in Leaderboard.open(str(tmp_path / "board")).standings()] == [1, 1]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"protocol": "a2d"}, "protocol is 'a2d' here and 'mevis' there"),
        ({"truth_hash": "sha256:bb"}, "truth_hash is 'sha256:bb' here and 'sha256:aa' there"),
        ({"missing_rule": "empty"}, "missing_rule is 'empty' here and 'zero' there"),
        ({"missing_rule": "empty", "void_pixels": True}, "missing_rule is 'empty' .*; void_pixels is True"),
    ],
)
def test_another_rule_is_refused_with_what_differs(tmp_path, other, message):
    board = str(tmp_path / "board")
    Leaderboard.add(board, "first", scores(tmp_path / "a"))
    with pytest.raises(InputError, match=message):
        Leaderboard.add(board, "second", scores(tmp_path / "b", **other))
    assert [entry.name for entry in Leaderboard.open(board).entries()] == ["first"]


def test_a_name_that_is_taken_is_refused(store, tmp_path):
    Leaderboard.add(store, "mine", scores(tmp_path / "a", 0.1))
    with pytest.raises(InputError, match="already has an entry 'mine'; choose another --name"):
        Leaderboard.add(store, "mine", scores(tmp_path / "b", 0.3))
    assert Leaderboard.open(store).standings()[0]["overall"]["J&F"] == pytest.approx(0.6, abs=0.1)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\\b", ".hidden", " x", "x\n", "\u202ex", "x" * 250])
def test_names_that_are_no_file_names_are_refused(tmp_path, name):
    with pytest.raises(InputError):
        Leaderboard.add(str(tmp_path / "board"), name, scores(tmp_path / "a"))
    assert not (tmp_path / "board").exists()


def test_names_may_hold_anything_printable(store, tmp_path):
    names = ["A (v2) #1? 100 %", "<script>alert(1)</script>".replace("/", "\u2215"), "Größe *é* [x] & 'y' \"z\""]
    for name in names:
        Leaderboard.add(store, name, scores(tmp_path / "a"))
    assert sorted(entry.name for entry in Leaderboard.open(store).entries()) == sorted(names)


@pytest.mark.parametrize("names", [("same", "same"), ("one", "two")])
def test_of_two_that_start_at_once_one_is_first(store, tmp_path, names):
    """With one name, one of them has it; with two rules, one of them is the leaderboard's."""
    rules = ({}, {}) if names[0] == names[1] else ({"truth_hash": "sha256:a"}, {"truth_hash": "sha256:b"})
    folders = [scores(tmp_path / str(n), seed=n, **rule) for n, rule in enumerate(rules)]
    barrier, errors = threading.Barrier(2), []

    def add(name, scored):
        barrier.wait()
        try:
            Leaderboard.add(store, name, scored)
        except InputError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=add, args=pair) for pair in zip(names, folders, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 1, errors
    assert len(Leaderboard.open(store).standings()) == 1


def test_scores_that_cannot_be_an_entry(tmp_path):
    board = str(tmp_path / "board")
    skipped = {"missing_rule": "skip", "pairs": {"scored": 59, "missing": 1}}
    old = scores(tmp_path / "old")
    del old.summary["truth_hash"]
    edited = scores(tmp_path / "edited")
    edited.summary["overall"]["J&F"] += 0.1
    no_mean = scores(tmp_path / "no_mean")
    no_mean.summary["overall"]["J&F"] = None
    other = scores(tmp_path / "other")
    other.summary["overall"]["n"] = 61
    for scored, message in [
        (scores(tmp_path / "skipped", **skipped), "were skipped"),
        (old, "summary.json has no truth_hash, since an older version wrote it"),
        (edited, "another mean J&F than summary.json"),
        (no_mean, "another mean J&F than summary.json"),
        (other, "of two evaluations"),
    ]:
        with pytest.raises(InputError, match=message):
            Leaderboard.add(board, "x", scored)
    assert not (tmp_path / "board").exists()


def test_folders_that_are_no_leaderboard(tmp_path):
    with pytest.raises(InputError, match="is not a leaderboard"):
        Leaderboard.open(str(tmp_path))
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="not empty and has no leaderboard.json"):
        Leaderboard.add(str(tmp_path), "x", scores(tmp_path / "a"))
    (tmp_path / "leaderboard.json").write_text("[]")
    with pytest.raises(InputError, match="another form"):
        Leaderboard.open(str(tmp_path))


def test_scores_with_an_8_bit_decay_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"summary\.json: its decay .*8-bit.*repeat 'rvos evaluate'"):
        scores(tmp_path / "old", decay_8bit=True)
    Leaderboard.add(str(tmp_path / "board"), "mine", scores(tmp_path / "new", decay_8bit=False))
    path = tmp_path / "board/leaderboard.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decay_8bit": True}))
    with pytest.raises(InputError, match=r"leaderboard\.json: its entries .*8-bit.*new folder"):
        Leaderboard.open(str(tmp_path / "board"))


def test_files_that_are_no_entries_are_named(tmp_path):
    board = tmp_path / "board"
    Leaderboard.add(str(board), "mine", scores(tmp_path / "a"))
    pq.write_table(pa.table({"a": [1]}), board / "entries" / "stray.parquet")
    with pytest.raises(InputError, match=r"stray.parquet is not an entry"):
        Leaderboard.open(str(board)).entries()
    (board / "entries" / "stray.parquet").unlink()
    (board / "entries" / "mine.parquet").rename(board / "entries" / "yours.parquet")
    with pytest.raises(InputError, match=r"yours.parquet is the file of an entry 'mine'"):
        Leaderboard.open(str(board)).entries()
