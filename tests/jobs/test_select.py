"""`rvos select` on synthetic labels of known quality: kept pairs are better, and no pair is lost."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cli import main
from jobs.select import SelectConfig, run
from pipeline.io import parquet, storage
from pipeline.io.manifest import read_manifest
from pipeline.masks.by_video import MaskSource
from pipeline.runs.plan import PlanOptions
from pipeline.runs.plan_reader import PlanReader
from pipeline.runs.run import Run
from pipeline.selection.decisions import PAIRS
from pipeline.selection.quality_signals import QUALITY_SIGNALS
from pipeline.selection.signal_tasks import plan_signal_tasks
from schemas import rle
from schemas.errors import InputError
from schemas.masks import ANNOTATIONS, PREDICTIONS
from tests.handmade import error_of, predicted, run_of_truth, write
from tests.page import HOSTILE, Page
from tests.segmented import masks

VIDEOS, FRAMES, SIZE = 60, 5, 24


def disk(x: float, y: float) -> np.ndarray:
    row, column = np.mgrid[:SIZE, :SIZE]
    return (row - y) ** 2 + (column - x) ** 2 <= 25


def frames_of(video: str, masks: list[np.ndarray], **more) -> list[dict]:
    return [
        {"video_id": video, "frame_index": index, "frame_name": f"{index:05}", "height": SIZE, "width": SIZE}
        | {"counts": rle.encode(mask[None])[0], **more}
        for index, mask in enumerate(masks)
    ]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[str, str]:
    """A run of 60 videos with two expressions of one object, some shaken, and the truth. v000 1 failed."""
    folder = tmp_path_factory.mktemp("select")
    rng = np.random.default_rng(0)
    truth, pairs, masks = [], [], {}
    for number in range(VIDEOS):
        video = f"v{number:03}"
        path = [disk(8 + frame, 12) for frame in range(FRAMES)]
        truth += frames_of(video, path, object_id="1")
        for expression in "01":
            shake = rng.choice([0.0, 0.0, 1.0, 3.0, 6.0])
            moved = [disk(8 + frame + shake * rng.normal(), 12 + shake * rng.normal()) for frame in range(FRAMES)]
            masks[video, expression] = frames_of(video, moved)
            pairs.append({"video_id": video, "expression_id": expression, "object_ids": ["1"]})
    manifest = pa.Table.from_pylist(
        [pair | {"video_uri": f"/{pair['video_id']}", "expression": "x", "num_frames": FRAMES} for pair in pairs]
    )
    parquet.write_table(str(folder / "truth.parquet"), pa.Table.from_pylist(truth, schema=ANNOTATIONS))
    made = Run.start(str(folder / "run"), "f", {}, {})
    made.extend_plan(manifest, "m", PlanOptions(unit_frames=40))
    for unit in made.units():
        keys = [(row["video_id"], row["expression_id"]) for row in PlanReader(made).rows(unit).to_pylist()]
        write(
            made,
            unit.unit_id,
            [error_of(*key) if key == ("v000", "1") else predicted(*key, masks[key]) for key in keys],
        )
    return made.folder, str(folder / "truth.parquet")


def test_kept_labels_score_clearly_higher_than_all(world, tmp_path):
    folder, truth = world
    result = run(SelectConfig(run=folder, out=str(tmp_path / "out"), calibrate=truth, good=0.8, precision=0.7))
    rows = parquet.read_table(str(tmp_path / "out/pairs.parquet")).to_pandas()
    assert (len(rows), result.pairs, result.kept) == (120, 120, int(rows["keep"].sum()))
    assert rows["keep"].eq(rows["reason"].isna()).all()
    quality = rows["quality"]
    assert quality[rows["keep"]].mean() > quality.mean() + 0.1
    assert result.calibration
    assert result.calibration.rule
    assert result.calibration.correlations[0].low > 0.5 or result.calibration.correlations[0].high < -0.5
    assert result.calibration.held_out.precision > result.calibration.held_out.good_all  # pyright: ignore
    assert rows.set_index(["video_id", "expression_id"]).loc[("v000", "1"), "reason"] == "gone"


def test_rules_say_why_and_the_manifest_holds_the_kept(world, tmp_path):
    (tmp_path / "rules.txt").write_text("temporal_iou >= 0.5\n")
    config = SelectConfig(
        run=world[0], out=str(tmp_path / "out"), rule=("paraphrases >= 0.4",), rules=str(tmp_path / "rules.txt")
    )
    result = run(config)
    table = parquet.read_table(str(tmp_path / "out/pairs.parquet"))
    assert table.schema.equals(PAIRS)
    rows = table.to_pylist()
    kept = [row for row in rows if row["temporal_iou"] is not None and row["temporal_iou"] >= 0.5
            and (row["paraphrases"] is None or row["paraphrases"] >= 0.4)]  # fmt: skip
    assert 0 < len(kept) < 119
    assert [row for row in rows if row["keep"]] == kept
    assert any("; " in (row["reason"] or "") for row in rows)
    assert result.dropped["without masks"] == 1
    manifest = read_manifest(str(tmp_path / "out/manifest.parquet"))
    assert [(row["video_id"], row["expression_id"]) for row in manifest.to_pylist()] == [
        (row["video_id"], row["expression_id"]) for row in kept
    ]
    assert run(config) == result


def test_a_run_does_not_agree_with_itself(world, tmp_path):
    for same in (world[0], f"{world[0]}/"):
        with pytest.raises(InputError, match="is RUN itself, with which it agrees wholly; name another run"):
            run(SelectConfig(run=world[0], out=str(tmp_path / "out"), against=(same,), rule=("other_run >= 1",)))
    assert not (tmp_path / "out").exists()


def test_agreement_with_another_run(world, tmp_path):
    other = shutil.copytree(world[0], tmp_path / "other")
    run(SelectConfig(run=world[0], out=str(tmp_path / "out"), against=(str(other),), rule=("other_run >= 1",)))
    rows = parquet.read_table(str(tmp_path / "out/pairs.parquet")).to_pylist()
    assert [row["other_run"] for row in rows] == [1.0, None, *[1.0] * 118]
    assert sum(row["keep"] for row in rows) == 119


def test_agreement_with_several_runs(labelled_run, tmp_path):
    same, empty = str(tmp_path / "same.parquet"), str(tmp_path / "empty.parquet")
    table = masks(labelled_run.folder)
    parquet.write_table(same, table)
    counts = pa.array([rle.empty(96, 128)] * len(table), pa.binary())
    parquet.write_table(empty, table.set_column(table.column_names.index("counts"), "counts", counts))

    def agreements(*against, **options):
        out = str(tmp_path / "-".join(["out", *map(storage.file_name, against), *options]))
        run(SelectConfig(run=labelled_run.folder, against=against, out=out, **options))
        found = parquet.read_table(f"{out}/pairs.parquet")
        return [found[name].to_pylist() for name in ("other_run", "least_other_run")]

    (alone, none), (both, least) = agreements(empty), agreements(same, empty, rule=("least_other_run >= 0.1",))
    assert (none, least) == ([None] * 9, alone)
    assert both == [(1 + value) / 2 for value in alone]
    assert min(alone) == 0
    with pytest.raises(InputError, match="several runs; name at least two"):
        agreements(same, rule=("least_other_run >= 0.5",))
    with pytest.raises(InputError, match="given twice"):
        agreements(same, same)


def test_signals_that_pairs_lack_are_noted(world, tmp_path):
    """Such a rule keeps all pairs, which the notes explain."""
    with pytest.raises(InputError, match="name that run with --against"):
        run(SelectConfig(run=world[0], out=str(tmp_path / "out"), rule=("other_run >= 0.5",)))
    result = run(SelectConfig(run=world[0], out=str(tmp_path / "out"), rule=("margin >= 0.1", "paraphrases >= 0")))
    assert result.kept == 119
    assert result.notes == [
        "no margin for 119 pairs; rules on it keep them",
        "no paraphrases for 1 pair; rules on it keep them",
    ]


@pytest.fixture
def hostile_run(shapes, tmp_path) -> Run:
    """A run over small videos, one of them missing, with an expression that is markup."""
    folder = Path(shapes[0]).parent
    rows = [row | {"video_uri": str(folder / row["video_uri"])} for row in parquet.read_table(shapes[0]).to_pylist()]
    rows[0]["expression"] = HOSTILE
    for row in rows[6:]:
        row["video_uri"] = str(tmp_path / "gone.mp4")
    parquet.write_table(str(tmp_path / "manifest.parquet"), pa.Table.from_pylist(rows))
    return run_of_truth(str(tmp_path / "run"), str(tmp_path / "manifest.parquet"), shapes[1])


def test_the_page_shows_both_sides_of_each_rule(hostile_run, tmp_path):
    config = SelectConfig(
        run=hostile_run.folder, out=str(tmp_path / "out"), rule=("mean_score >= 0.85", "frames >= 99", "flicker <= 2")
    )
    page = Page(Path(run(config).report).read_bytes())
    assert page.all("script") == []
    assert HOSTILE in page.text
    assert "frames >= 99: just dropped" in page.text
    assert "mean_score >= 0.85: just kept" in page.text
    assert "flicker <= 2: just" not in page.text  # it drops nothing
    assert "dropped: mean_score is 0.8055, not >= 0.85; frames is 12, not >= 99" in page.text
    assert "gone.mp4 does not exist" in page.text
    pictures = page.all("img")
    assert len(pictures) == 2 * 3 * 6  # two rules that drop, three pairs each, six frames
    assert all(one["src"].startswith("data:image/jpeg;base64,") for one in pictures)
    assert "Calibration" not in page.text


def test_the_page_shows_the_calibration(world, tmp_path):
    result = run(SelectConfig(run=world[0], out=str(tmp_path / "out"), calibrate=world[1], good=0.8, precision=0.7))
    assert result.calibration
    assert result.calibration.held_out
    page = Page(Path(result.report).read_bytes())
    assert f"Precision against share kept, by {result.calibration.measure}" in page.text
    held = result.calibration.held_out
    assert f"held out: {held.kept} of {held.pairs} pairs kept, precision {held.precision:.3f}" in page.text
    assert all(one.measure in page.text for one in result.calibration.correlations)
    assert f"{result.calibration.rule}: just dropped" in page.text
    assert "/v0" in page.text  # the videos are not there, and the page says so
    assert [one for one in page.all("circle") if one["class"] == "dot linked"]


def test_a_page_without_rules(world, tmp_path):
    page = Page(Path(run(SelectConfig(run=world[0], out=str(tmp_path / "all"))).report).read_bytes())
    assert "No rule drops a pair" in page.text
    assert "without masks" in page.text


def test_the_command_line(world, tmp_path):
    def typed(*words):
        return CliRunner().invoke(main, ["select", world[0], *map(str, words)])

    calibrated = ("--calibrate", world[1], "--good", "0.8", "--precision")
    result = typed("--out", tmp_path / "out", *calibrated, "0.7", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["calibration"]["rule"]["measure"] in QUALITY_SIGNALS
    result = typed("--out", tmp_path / "text", *calibrated, "0.7")
    assert ", for a precision of 0.7 with 90 % confidence" in result.output
    assert "held out    precision " in result.output
    result = typed("--out", tmp_path / "many", *calibrated, "0.95")
    reached = "a precision of 0.95 with 90 % confidence on the held-out videos, so none was applied; about "
    assert f" reaches {reached}" in result.output
    assert " labelled videos are probably needed for one, and you have 60" in result.output
    assert "  not frames >= 99\n" in typed("--out", tmp_path / "rule", "--rule", "frames >= 99").output
    result = typed("--out", tmp_path / "never", *calibrated, "1")
    assert "more labels do not seem to help" in result.output
    assert typed("--out", tmp_path / "x", "--rule", "better > 1").exit_code == 2
    assert typed("--out", tmp_path / "x", "--measure", "area").exit_code == 2
    assert typed("--out", f"{world[0]}/out").exit_code == 2
    assert typed("--out", tmp_path).exit_code == 2


def test_a_refused_calibration_leaves_the_folder_to_the_corrected_command(world, tmp_path):
    options = {"run": world[0], "out": str(tmp_path / "out"), "calibrate": world[1]}
    with pytest.raises(InputError, match="0 labelled videos have margin"):
        run(SelectConfig(measure="margin", **options))
    with pytest.raises(InputError, match="no predictions at"):
        run(SelectConfig(against=(str(tmp_path / "none"),), **options))
    assert run(SelectConfig(good=0.8, **options)).calibration


def test_labelled_pairs_without_a_score_are_noted(world, tmp_path):
    truth = parquet.read_table(world[1])
    rows = truth.to_pylist()
    small = {"height": 2, "width": 2, "counts": rle.empty(2, 2)}
    for name, misshaped in (("some", "v009"), ("all", "v999")):
        changed = [row | small if row["video_id"] <= misshaped else row for row in rows]
        table = pa.Table.from_pylist(changed, schema=truth.schema)
        parquet.write_table(str(tmp_path / f"{name}.parquet"), table)
    options = {"run": world[0], "out": str(tmp_path / "out"), "good": 0.8}
    with pytest.raises(InputError, match="no pair has masks that fit its annotations .*; check ids and frame sizes"):
        run(SelectConfig(calibrate=str(tmp_path / "all.parquet"), **options))
    result = run(SelectConfig(calibrate=str(tmp_path / "some.parquet"), **options))
    assert result.notes[0].startswith("labelled pairs without J&F: 20 (1 failed, 19 misshaped); see ")


def test_the_help_names_all_signals():
    text = " ".join(CliRunner().invoke(main, ["select", "--help"]).output.split())
    assert ", ".join(QUALITY_SIGNALS) in text


def test_configs_are_checked():
    with pytest.raises(InputError, match="unknown --measure 'x'; choose from frames"):
        SelectConfig(run="r", out="o", calibrate="a", measure="x")
    with pytest.raises(InputError, match="--good must be at least 0, got nan"):
        SelectConfig(run="r", out="o", good=float("nan"))


def test_the_docs_name_every_signal():
    text = (Path(__file__).resolve().parents[2] / "docs/selection.md").read_text()
    assert [name for name in QUALITY_SIGNALS if f"`{name}`" not in text] == []


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_on_the_workers_of_a_cluster_the_same_comes_out(world, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.masks.task_planning.TASK_ROWS", 40)  # so that there are many tasks
    other = shutil.copytree(world[0], tmp_path / "other")
    options = {"run": world[0], "against": (str(other),), "rule": ("temporal_iou >= 0.5",)}
    here = run(SelectConfig(out=str(tmp_path / "here"), **options))
    there = run(SelectConfig(out=str(tmp_path / "there"), address="local", **options))
    assert there == replace(here, out=there.out, report=there.report)
    for name in ("pairs", "manifest"):
        tables = [parquet.read_table(str(tmp_path / place / f"{name}.parquet")) for place in ("here", "there")]
        assert tables[0].equals(tables[1])


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_broken_mask_on_a_worker_is_named(world, tmp_path):
    rows = pq.read_table(storage.join(world[0], "masks")).to_pylist()[:3]
    rows[1]["counts"] = b"\x00broken"
    parquet.write_table(str(tmp_path / "broken.parquet"), pa.Table.from_pylist(rows, schema=PREDICTIONS))
    with pytest.raises(InputError, match=f"{rows[1]['video_id']}.*frame {rows[1]['frame_name']}"):
        run(SelectConfig(run=str(tmp_path / "broken.parquet"), out=str(tmp_path / "out"), address="local"))


def test_tasks_hold_whole_videos_and_read_each_table_once_if_they_can(world, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.masks.task_planning.TASK_ROWS", 40)
    tasks, masks = plan_signal_tasks(MaskSource.open(world[0]), ())
    videos = [set(task["video_id"].to_pylist()) for task in tasks]
    assert masks == 120 * FRAMES - 4  # one pair failed: a row without mask
    assert len(tasks) >= 15
    assert sum(map(len, videos)) == len(set().union(*videos)) == VIDEOS
    whole = pq.read_table(storage.join(world[0], "masks"))
    parquet.write_table(str(tmp_path / "whole.parquet"), whole)  # one row group
    assert len(plan_signal_tasks(MaskSource.open(str(tmp_path / "whole.parquet")), ())[0]) == 1


def test_a_run_of_other_pairs_is_refused(world, tmp_path):
    """Rules on the agreement with it would keep every pair."""
    table = pq.read_table(next(Path(world[0], "masks").glob("*.parquet"))).slice(0, 1)
    other = table.set_column(table.column_names.index("video_id"), "video_id", pa.array(["other"]))
    pq.write_table(other, tmp_path / "other.parquet")
    config = {"out": str(tmp_path / "out"), "against": (str(tmp_path / "other.parquet"),)}
    with pytest.raises(InputError, match="no pair is in both runs; in .*: video_id=other expression_id="):
        run(SelectConfig(run=world[0], rule=("other_run >= 0.5",), **config))
    assert not (tmp_path / "out").exists()
