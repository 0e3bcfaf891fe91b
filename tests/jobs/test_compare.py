import json

import numpy as np
import pytest

from jobs import compare
from jobs.compare import CompareConfig
from pipeline.evaluation.summary.outputs import score_rows
from pipeline.io import parquet, storage
from schemas.errors import InputError

pd = pytest.importorskip("pandas")


@pytest.fixture
def folders(tmp_path):
    """A baseline, a clear gain in large objects only, and noise; 40 videos of three pairs."""
    rng = np.random.default_rng(4)
    video = np.repeat(np.arange(40), 3)
    size = np.where(np.arange(120) % 3 == 0, "large", "small")
    base = np.clip(0.6 + 0.2 * rng.standard_normal(40)[video] + 0.05 * rng.standard_normal(120), 0, 1)
    gains = {"a": 0, "b": np.where(size == "large", 0.06, 0), "c": 0.02 * rng.standard_normal(40)[video]}
    for name, gain in gains.items():
        rows = pd.DataFrame(
            {
                "video_id": [f"v{number:02}" for number in video],
                "expression_id": [str(n % 3) for n in range(120)],
                "object_id": None,
                "annotator": None,
                "J&F": base + gain + 0.01 * rng.standard_normal(120),
                "size": size,
            }
        )
        save(tmp_path / name, rows)
    return [str(tmp_path / name) for name in gains]


def save(folder, rows, **summary):
    counts = {"pairs": {}, "frames": {"scored": 1, "missing": 0}, "overall": {"n": 1, "J&F": 0.0}}
    document = {"protocol": "mevis", "missing_rule": "zero"} | counts
    storage.write_bytes(str(folder / "summary.json"), json.dumps(document | summary).encode())
    parquet.write_table(str(folder / "scores.parquet"), score_rows(rows, ["J&F"], ["size"]))


def test_what_changed_and_what_did_not(folders):
    found = compare.run(CompareConfig(scores=tuple(folders), by=("size",)))
    gain, noise = found.comparisons
    assert gain["difference"] == pytest.approx(0.02, abs=0.004)
    assert 0 < gain["low"] < gain["high"]
    assert gain["p"] < 0.001 < 0.05 < noise["p"]
    assert gain["p_corrected"] == pytest.approx(2 * gain["p"])
    large, small = gain["by"]["size"]
    assert (large["value"], large["pairs"], small["pairs"]) == ("large", 40, 80)
    assert large["p_corrected"] < 0.01 < small["p_corrected"]
    assert gain["smallest"] < 0.02
    assert all(pair["value"] - pair["baseline"] > 0.05 for pair in gain["risen"])
    assert max(map(len, found.text().splitlines()[3:])) <= 80 or "/" in found.text()
    assert json.loads(json.dumps(found.to_json())) == found.to_json()


def test_a_set_that_may_lack_a_kind_of_video_says_so(folders):
    (note,) = compare.run(CompareConfig(scores=tuple(folders))).warnings
    assert "a set of 40 videos has none of a kind that is one in 20 with probability 0.13" in note


def test_scores_without_any_change_say_what_their_interval_means(folders):
    same = compare.run(CompareConfig(scores=(folders[0], folders[0])))
    assert same.comparisons[0]["difference"] == 0
    text = f"every pair has the same value in {folders[0]} and the baseline; the interval shows only what 40 videos can"
    assert [note for note in same.warnings if note.startswith(text)]
    other = compare.run(CompareConfig(scores=(folders[0], folders[2])))
    assert not [note for note in other.warnings if "every pair" in note]


def test_pairs_that_only_one_side_has_are_counted(folders, tmp_path):
    rows = pd.DataFrame({"video_id": ["v00", "new"], "expression_id": ["0", "0"], "J&F": [0.5, 0.5], "size": "large"})
    save(tmp_path / "d", rows.assign(object_id=None, annotator=None))
    found = compare.run(CompareConfig(scores=(folders[0], str(tmp_path / "d")))).comparisons[0]
    assert (found["pairs"], found["only_in_baseline"], found["only_here"]) == (1, 119, 1)
    assert (found["p"], found["p_corrected"], found["low"], found["smallest"]) == (None, None, None, None)


def test_wrong_use(folders, tmp_path):
    rows = pd.DataFrame({"video_id": ["x"], "expression_id": ["0"], "object_id": None, "annotator": None, "J&F": [0.5]})
    save(tmp_path / "d", rows.assign(size="small"), protocol="a2d")
    save(tmp_path / "e", rows.assign(size="small"))
    for scores, options, message in [
        ((folders[0],), {}, "one folder of scores; give at least two"),
        ((folders[0], str(tmp_path)), {}, "holds no scores"),
        ((folders[0], str(tmp_path / "d")), {}, "protocol is a2d in"),
        ((folders[0], str(tmp_path / "e")), {}, "shares no pair"),
        (folders, {"metric": "F"}, "no pairs with the metric F"),
        (folders, {"by": ("colour",)}, "no attribute colour"),
    ]:
        with pytest.raises(InputError, match=message):
            compare.run(CompareConfig(scores=tuple(scores), **options))


def test_an_interval_and_a_p_that_seem_to_disagree_are_explained(tmp_path):
    """Eight kinds of videos, one of which gains a little: alone that would be significant, among eight it is not."""
    rng = np.random.default_rng(1)
    kind = np.arange(96) % 8
    base = 0.5 + 0.1 * rng.standard_normal(96)
    spread = np.repeat(np.linspace(-1, 1, 12), 8)
    for name, gain in {"a": 0.0, "b": np.where(kind == 0, 0.03, 0.0) + 0.06 * spread}.items():
        ids = {"video_id": [f"v{n:02}" for n in range(96)], "expression_id": "0", "object_id": None, "annotator": None}
        save(tmp_path / name, pd.DataFrame(ids | {"J&F": base + gain, "size": [f"kind {n}" for n in kind]}))
    found = compare.run(CompareConfig(scores=(str(tmp_path / "a"), str(tmp_path / "b")), by=("size",)))
    first = found.comparisons[0]["by"]["size"][0]
    assert first["low"] > 0 > first["low"] - 0.05
    assert first["p"] < 0.05 < first["p_corrected"]
    assert any("an interval excludes 0 although the corrected p (Holm) is above 0.05" in one for one in found.warnings)
    plain = compare.run(CompareConfig(scores=(str(tmp_path / "a"), str(tmp_path / "b"))))
    assert not any("excludes 0" in one for one in plain.warnings)
