"""A run with all candidates is, to every command but the protocols of samples, the run of the chosen ones."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import audit, evaluate, export, select
from jobs.config.audit import AuditConfig
from jobs.config.evaluate import EvaluateConfig
from jobs.config.export import CocoVideoConfig
from jobs.config.segment import SegmentConfig
from jobs.config.select import SelectConfig
from jobs.segment import fingerprint_inputs
from pipeline.io import parquet
from schemas import rle
from tests.handmade import run_of_truth, write


@pytest.fixture(scope="module")
def with_others(shapes, tmp_path_factory) -> str:
    """As `labelled_run`, with an empty candidate beside each mask, which has a higher score in one frame of two."""
    run = run_of_truth(str(tmp_path_factory.mktemp("candidates") / "run"), *shapes)
    for unit in run.units():
        rows = parquet.read_table(run.masks_uri(unit.unit_id))
        pairs: dict[str, list[dict]] = {}
        for row in rows.to_pylist():
            other = {"score": 0.99 * (row["frame_index"] % 2), "counts": rle.empty(row["height"], row["width"])}
            both = [row | {"query": 1, "chosen": True}, row | other | {"query": 0, "chosen": False}]
            pairs.setdefault(row["expression_id"], []).extend(both)
        write(run, unit.unit_id, [pa.Table.from_pylist(both, schema=rows.schema) for both in pairs.values()])
    return run.folder


@pytest.fixture(scope="module")
def folders(with_others, labelled_run) -> tuple[str, str]:
    return with_others, labelled_run.folder


def test_audit_finds_nothing(with_others):
    found = audit.run(AuditConfig(run=with_others))
    assert found.exit_code == 0, found.text()
    assert "9 with masks, 0 failed" in found.text()


def test_evaluate_scores_the_chosen_ones(folders, shapes, tmp_path):
    found = [
        evaluate.run(EvaluateConfig(predictions=folder, annotations=shapes[1], out=str(tmp_path / str(n)))).summary
        for n, folder in enumerate(folders)
    ]
    assert found[0]["overall"] == found[1]["overall"]
    assert found[0]["overall"]["J&F"] == 1.0


def test_a_protocol_of_samples_takes_the_highest_score_of_each_frame(folders, shapes, tmp_path):
    overall = [
        evaluate.run(
            EvaluateConfig(predictions=folder, annotations=shapes[1], out=str(tmp_path / str(n)), protocol="a2d")
        ).summary["overall"]
        for n, folder in enumerate(folders)
    ]
    assert [one["mean IoU"] for one in overall] == [pytest.approx(0.5, abs=1e-3), pytest.approx(1.0, abs=1e-3)]


def test_exports_are_the_same_byte_for_byte(folders, tmp_path):
    written = []
    for number, folder in enumerate(folders):
        path = tmp_path / f"{number}.json"
        assert export.run(CocoVideoConfig(run=folder, out=str(path))).exit_code == 0
        written.append(path.read_bytes())
    assert written[0] == written[1]


def test_select_measures_the_chosen_ones(folders, tmp_path):
    pairs = []
    for number, folder in enumerate(folders):
        out = tmp_path / str(number)
        select.run(SelectConfig(run=folder, out=str(out)))
        pairs.append(pq.read_table(Path(out) / "pairs.parquet"))
    assert (
        pairs[0]
        .drop_columns(["margin"] if "margin" in pairs[0].column_names else [])
        .equals(pairs[1].drop_columns(["margin"] if "margin" in pairs[1].column_names else []))
    )


def test_the_fingerprint_names_rules_only_where_there_are_some():
    def names(**options) -> set[str]:
        return set(fingerprint_inputs(SegmentConfig(manifest="", run="", **options), "w", 360))

    plain = names()
    assert plain == {
        "weights", "masks_version", "precision", "short_side", "max_size", "threshold", "frame_step", "decoder",
        "allow_short", "window",
    }  # fmt: skip
    assert names(candidates="best") == plain
    assert names(candidates="all") - plain == {"all_candidates"}
    assert names(rules="ref-youtube-vos") - plain == {"max_whole_frames"}
    assert names(rules="ref-davis17") - plain == {"exclusive"}
    assert names(rules="a2d") - plain == {"all_candidates", "context", "lower_case", "nearest", "pad_to"}
