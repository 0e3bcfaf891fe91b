"""Failures stay with their pair. The segmenter is a fake, since real ones do not fail on demand;
tests/jobs/test_segment.py runs real ones through the same code."""

import threading
import time

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from model.errors import FastModeError
from model.segmenter import Segmentation, SegmenterStats
from pipeline.runs.attempts import AttemptTracker, RetryStep
from pipeline.runs.commit import SECONDS, ReplacedObject, read_receipt, unit_pairs
from pipeline.segment.clips import FrameOptions
from pipeline.segment.events import UnitJob
from pipeline.segment.unit import segment_jobs, segment_unit
from schemas import rle
from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from tests.handmade import make_older

UNSUSPECTED = RetryStep()


def unit_job(uri, rows, **options) -> UnitJob:
    return UnitJob(unit_id="u", fingerprint="f", uri=uri, rows=rows, **options)


class FakeSegmenter:
    """Marks the left half of every frame. The expression selects how to fail; a track names its window."""

    max_tokens = 512

    def __init__(self):
        self.calls, self.overlaps = [], []
        self.unit_stats = []  # stats, or an error, of each unit in turn

    def stats(self):
        stats = self.unit_stats.pop(0) if self.unit_stats else SegmenterStats()
        if isinstance(stats, Exception):
            raise stats
        return stats

    def prepare(self, frame):
        return frame[::2, ::2]

    def count_tokens(self, expression):
        return len(expression.split()) + 2

    def segment(self, frames, size, expressions, keep=None, overlap=None):
        self.calls.append((len(frames), list(expressions), keep))
        self.overlaps.append(overlap)
        kept = range(len(frames)) if keep is None else keep
        count = len(kept) if overlap is None else sum(overlap.start + i < overlap.final for i in kept)
        for expression in expressions:
            if expression == "out of memory":
                raise torch.OutOfMemoryError("no memory left\nmore text")
            if expression == "needs much memory" and len(frames) > 1:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
            if expression == "defect":
                raise RuntimeError("shapes do not fit")
            masks = np.zeros((count, *size), bool)
            masks[:, :, : size[1] // 2] = True
            yield Segmentation(
                masks=masks,
                scores=np.linspace(0.2, 0.4, count, dtype=np.float32),
                boxes=np.tile(np.array([0, 0, size[1] / 2, size[0]], np.float32), (count, 1)),
                query=3,
                margin=0.25,
                finite=expression != "nan" and (expression != "nan later" or overlap.start == 0),
                track=None if overlap is None else f"{expression} from {overlap.start}",
            )


@pytest.fixture
def video(tmp_path):
    folder = tmp_path / "video"
    folder.mkdir()
    for i in range(5):
        Image.fromarray(np.full((20, 30, 3), i, np.uint8)).save(folder / f"{i:05}.png")
    return str(folder)


def segment(tmp_path, video, expressions, options=None, **columns):
    rows = [
        {"video_id": "v", "video_uri": video, "expression_id": str(i), "expression": text} | columns
        for i, text in enumerate(expressions)
    ]
    segmenter = FakeSegmenter()
    uri = str(tmp_path / "u.parquet")
    receipt = segment_unit(unit_job(uri, rows), segmenter, options or FrameOptions(window=3))
    return pq.read_table(uri), receipt, segmenter


def test_every_frame_of_every_pair_is_a_row(tmp_path, video):
    table, receipt, segmenter = segment(tmp_path, video, ["a", "b"])
    assert table.schema.equals(PREDICTIONS)
    assert [call[:2] for call in segmenter.calls] == [(3, ["a", "b"]), (2, ["a", "b"])]
    assert table["expression_id"].to_pylist() == ["0"] * 5 + ["1"] * 5
    assert table["frame_index"].to_pylist() == list(range(5)) * 2
    first = table.to_pylist()[0]
    assert (first["frame_name"], first["height"], first["width"], first["query"]) == ("00000", 20, 30, 3)
    assert first["margin"] == 0.25
    assert rle.decode(first["counts"], 20, 30).sum() == 300
    assert first["box"] == [0, 0, 15, 20]
    assert first["pair_score"] == pytest.approx(np.mean([0.2, 0.3, 0.4, 0.2, 0.4]))
    assert (first["status"], first["error"]) == ("ok", None)
    assert (receipt.pairs, receipt.frames, receipt.failed) == (2, 10, {})
    assert all(receipt.seconds[stage] > 0 for stage in SECONDS)
    assert read_receipt(str(tmp_path / "u.parquet")).pairs == 2


def test_one_bad_row_costs_one_row(tmp_path, video):
    table, receipt, _ = segment(tmp_path, video, ["a", "", "word " * 600, "nan", "b"])
    errors = {row["expression_id"]: row for row in table.to_pylist() if row["status"] != "ok"}
    assert {key: row["status"] for key, row in errors.items()} == {"1": "bad_row", "2": "bad_row", "3": "nan"}
    assert errors["1"]["error"].startswith("video_id=v expression_id=1: the expression is empty")
    assert "602 tokens" in errors["2"]["error"]
    assert "frames 00000 to 00002" in errors["3"]["error"]
    assert all(row["counts"] is None and row["frame_index"] is None for row in errors.values())
    assert receipt.failed == {"bad_row": 2, "nan": 1}
    assert receipt.frames == 10


def test_out_of_memory_gives_an_error_row_with_a_way_out(tmp_path, video):
    table, receipt, _ = segment(tmp_path, video, ["out of memory"])
    assert receipt.failed == {"oom": 1}
    text = table["error"][0].as_py()
    assert "frame 00000: out of memory on a window of 3 frames (no memory left); use a smaller --window" in text


def test_only_the_pair_that_runs_out_of_memory_fails(tmp_path, video):
    table, receipt, segmenter = segment(tmp_path, video, ["a", "out of memory", "b"])
    assert receipt.failed == {"oom": 1}
    assert (receipt.pairs, receipt.frames) == (3, 10)
    assert [call[1] for call in segmenter.calls] == [
        ["a", "out of memory", "b"], ["out of memory"], ["b"],  # the first window: those not through, alone
        ["a", "b"],
    ]  # fmt: skip
    assert table.filter(pc.equal(table["expression_id"], "0"))["frame_index"].to_pylist() == list(range(5))


def test_no_memory_to_encode_masks_costs_their_pair_only(tmp_path, video, monkeypatch):
    encode, refusals = rle.encode, iter([MemoryError])

    def short_of_memory(masks):
        for refusal in refusals:
            raise refusal
        return encode(masks)

    monkeypatch.setattr(rle, "encode", short_of_memory)
    table, receipt, _ = segment(tmp_path, video, ["a", "b"])
    assert (receipt.failed, receipt.frames) == ({"oom": 1}, 5)
    assert "expression_id=0: frame 00000: no memory on the host to encode masks" in table["error"].to_pylist()[0]


def test_the_window_is_never_reduced(tmp_path, video):
    table, receipt, _ = segment(tmp_path, video, ["a", "needs much memory"])
    assert receipt.failed == {"oom": 1}
    assert set(table.filter(pc.equal(table["status"], "ok"))["window"].to_pylist()) == {3, 2}


def test_other_errors_of_the_model_are_raised(tmp_path, video):
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        segment(tmp_path, video, ["defect"])
    assert not (tmp_path / "u.parquet").exists()


def test_a_long_pair_is_several_row_groups_of_bounded_size(tmp_path, video, monkeypatch):
    monkeypatch.setattr("pipeline.segment.spool.ROWS_AT_ONCE", 2)
    table, _, _ = segment(tmp_path, video, ["a", "b"], FrameOptions(window=1))
    assert table["frame_index"].to_pylist() == list(range(5)) * 2
    file = pq.ParquetFile(tmp_path / "u.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [2, 2, 1, 2, 2, 1]
    assert len(set(table["pair_score"].to_pylist())) == 1


def test_errors_are_done_again_and_the_good_rows_are_copied(tmp_path, video):
    before, receipt, _ = segment(tmp_path, video, ["a", "nan", "", "b"])
    assert receipt.failed == {"nan": 1, "bad_row": 1}
    uri = str(tmp_path / "u.parquet")
    replaced = ReplacedObject.read(uri, ["nan"])
    assert replaced.again == {("v", "1")}
    rows = [{"video_id": "v", "video_uri": video, "expression_id": "1", "expression": "a"}]
    segmenter = FakeSegmenter()
    receipt = segment_unit(unit_job(uri, rows, replaced=replaced), segmenter, FrameOptions(window=3))
    assert (receipt.generation, receipt.pairs, receipt.frames, receipt.failed) == (1, 4, 15, {"bad_row": 1})
    assert (receipt.kept_pairs, receipt.kept_frames) == (3, 10)
    assert [call[1] for call in segmenter.calls] == [["a"], ["a"]]
    after = pq.read_table(uri)
    kept = pc.not_equal(after["expression_id"], "1")
    assert after.filter(kept).equals(before.filter(pc.not_equal(before["expression_id"], "1")))
    assert unit_pairs(uri) == {("v", str(i)) for i in range(4)}


def test_rows_without_margins_are_copied_too(tmp_path, video):
    segment(tmp_path, video, ["a", "nan"])
    uri = str(tmp_path / "u.parquet")
    make_older(uri)
    rows = [{"video_id": "v", "video_uri": video, "expression_id": "1", "expression": "a"}]
    job = unit_job(uri, rows, replaced=ReplacedObject.read(uri, ["nan"]))
    receipt = segment_unit(job, FakeSegmenter(), FrameOptions(window=3))
    assert (receipt.pairs, receipt.frames) == (2, 10)
    table = pq.read_table(uri)
    assert table.schema.equals(PREDICTIONS)
    assert table["margin"].to_pylist() == [None] * 5 + [0.25] * 5


def test_only_one_of_two_retries_replaces_the_unit(tmp_path, video):
    segment(tmp_path, video, ["a", "nan"])
    uri = str(tmp_path / "u.parquet")
    rows = [{"video_id": "v", "video_uri": video, "expression_id": "1", "expression": "a"}]
    both = [ReplacedObject.read(uri, ["nan"]) for _ in range(2)]
    receipts = [
        segment_unit(unit_job(uri, rows, replaced=replaced), FakeSegmenter(), FrameOptions(window=3))
        for replaced in both
    ]
    assert [receipt.fresh for receipt in receipts] == [True, False]
    assert [receipt.generation for receipt in receipts] == [1, 1]


def test_a_video_that_cannot_be_read_gives_one_row_for_each_pair(tmp_path, video):
    (tmp_path / "video" / "00004.png").write_bytes(b"not an image")
    table, receipt, _ = segment(tmp_path, video, ["a", "b"])
    assert table.num_rows == 2
    assert receipt.failed == {"corrupt": 2}
    assert "frame 00004" in table["error"][1].as_py()


def test_only_target_frames_are_output_and_the_rest_is_context(tmp_path, video):
    table, _, segmenter = segment(tmp_path, video, ["a"], target_frames=["00001", "00004"])
    assert segmenter.calls == [(3, ["a"], [1]), (2, ["a"], [1])]
    assert table["frame_name"].to_pylist() == ["00001", "00004"]


def test_windows_without_a_target_frame_are_not_segmented(tmp_path, video):
    _, _, segmenter = segment(tmp_path, video, ["a"], target_frames=["00004"])
    assert segmenter.calls == [(2, ["a"], [1])]


SHARING = FrameOptions(window=3, overlap=1)  # of 5 frames: 0 to 2 and 2 to 4


def test_frames_that_windows_share_are_written_once_and_tracks_handed_on(tmp_path, video):
    table, receipt, segmenter = segment(tmp_path, video, ["a", "b"], SHARING)
    assert segmenter.calls == [(3, ["a", "b"], None), (3, ["a", "b"], None)]
    assert [(o.start, o.final, o.tracks) for o in segmenter.overlaps] == [
        (0, 2, [None, None]),
        (2, 5, ["a from 0", "b from 0"]),
    ]
    assert table["frame_index"].to_pylist() == list(range(5)) * 2
    assert table["expression_id"].to_pylist() == ["0"] * 5 + ["1"] * 5
    assert table["window"].to_pylist() == [3] * 10
    assert receipt.frames == 10
    assert table["pair_score"][0].as_py() == pytest.approx(np.mean([0.2, 0.4, 0.2, 0.3, 0.4]))


def test_without_overlap_the_model_gets_none(tmp_path, video):
    _, _, segmenter = segment(tmp_path, video, ["a"])
    assert segmenter.overlaps == [None, None]


def test_target_frames_of_windows_that_share_frames(tmp_path, video):
    table, _, segmenter = segment(tmp_path, video, ["a"], SHARING, target_frames=["00002", "00003"])
    assert segmenter.calls == [(3, ["a"], [2]), (3, ["a"], [0, 1])]  # both windows see 2, and the second one writes it
    assert table["frame_name"].to_pylist() == ["00002", "00003"]


def test_an_object_is_followed_over_windows_without_a_target_frame(tmp_path, video):
    options = FrameOptions(window=2, overlap=1)
    table, _, segmenter = segment(tmp_path, video, ["a"], options, target_frames=["00000", "00004"])
    assert [o.start for o in segmenter.overlaps] == [0, 3]
    assert segmenter.overlaps[1].tracks == ["a from 0"]
    assert table["frame_name"].to_pylist() == ["00000", "00004"]


def test_a_failure_in_a_later_window_leaves_one_row(tmp_path, video):
    table, receipt, _ = segment(tmp_path, video, ["a", "nan later"], SHARING)
    assert receipt.failed == {"nan": 1}
    rows = table.filter(pc.equal(table["expression_id"], "1")).to_pylist()
    assert [row["frame_index"] for row in rows] == [None]
    assert "frames 00002 to 00004" in rows[0]["error"]
    assert receipt.frames == 5
    (tmp_path / "u.parquet").unlink()
    (tmp_path / "video" / "00004.png").write_bytes(b"not an image")
    table, receipt, _ = segment(tmp_path, video, ["a", "b"], SHARING)
    assert (table.num_rows, receipt.failed) == (2, {"corrupt": 2})


def test_the_order_of_pairs_does_not_matter_to_which_unit_is_first(tmp_path, video):
    segment(tmp_path, video, ["a", "b"])
    _, receipt, _ = segment(tmp_path, video, ["a", "b"])
    assert not receipt.fresh


class LoggingTracker(AttemptTracker):
    """Logs what happens to attempts, in order, and calls back before one ends."""

    def __init__(self, folder):
        super().__init__(folder, "driver", "node", lambda node: True)
        self.log = []
        self.on_end = {}

    def begin(self, unit_id, pair=None, *, exclusive=False):
        attempt = super().begin(unit_id, pair, exclusive=exclusive)
        name = " ".join(pair or [unit_id])
        self.log.append(f"begin {name}")
        attempt.name = name
        attempt.start_clock = lambda: self.log.append(f"clock on {name}")
        attempt.stop_clock = lambda: self.log.append(f"clock off {name}")
        return attempt

    def end(self, attempt):
        self.on_end.get(attempt.name, lambda: None)()
        super().end(attempt)
        self.log.append(f"end {attempt.name}")

    @property
    def marks(self):
        return [entry for entry in self.log if not entry.startswith("clock")]


class Chain:
    """Several units through `segment_jobs`."""

    def __init__(self, tmp_path, video):
        self.tmp_path, self.video = tmp_path, video
        self.tracker = LoggingTracker(str(tmp_path / "attempts"))

    def job(self, name, expressions=("a",), step=UNSUSPECTED):
        common = {"video_id": name, "video_uri": self.video}
        rows = [common | {"expression_id": text, "expression": text} for text in expressions]
        return UnitJob(unit_id=name, fingerprint="f", uri=str(self.tmp_path / f"{name}.parquet"), rows=rows, step=step)

    def run(self, *jobs, segmenter=None):
        return segment_jobs(jobs, segmenter or FakeSegmenter(), FrameOptions(window=3), self.tracker)


class Rendezvous(FakeSegmenter):
    """Comes to its second unit while the first is still written, and has the second decoded while at the first."""

    def __init__(self):
        super().__init__()
        self.prepared = 0
        self.second_decoded, self.at_second = threading.Event(), threading.Event()

    def prepare(self, frame):
        self.prepared += 1
        if self.prepared > 5:
            self.second_decoded.set()
        return super().prepare(frame)

    def segment(self, frames, size, expressions, keep=None, overlap=None):
        if len(self.calls) >= 2:
            self.at_second.set()
        assert self.second_decoded.wait(60)
        return super().segment(frames, size, expressions, keep, overlap)


def test_decoding_the_model_and_writing_are_at_several_units_at_once(tmp_path, video):
    chain, segmenter = Chain(tmp_path, video), Rendezvous()
    chain.tracker.on_end["v"] = lambda: segmenter.at_second.wait(60)
    receipts = chain.run(chain.job("v"), chain.job("w"), segmenter=segmenter)
    assert [(receipt.unit_id, receipt.frames) for receipt in receipts] == [("v", 5), ("w", 5)]
    assert segmenter.at_second.is_set()
    log = chain.tracker.log
    assert log.index("begin w") < log.index("clock off v") < log.index("clock on w") < log.index("end v")


def test_a_unit_that_a_process_died_of_is_tried_alone(tmp_path, video):
    chain = Chain(tmp_path, video)
    suspect = chain.job("w", step=RetryStep(exclusive=True))
    list(chain.run(chain.job("v"), suspect, chain.job("x")))
    assert chain.tracker.marks == ["begin v", "end v", "begin w", "end w", "begin x", "end x"]


def test_pairs_are_tried_one_by_one_without_those_that_failed(tmp_path, video):
    chain = Chain(tmp_path, video)
    step = RetryStep(pair_by_pair=True, exclusive=True, failed_pairs={("w", "b"): ("crash", "twice")})
    receipts = list(chain.run(chain.job("v"), chain.job("w", ("a", "b", "c"), step), chain.job("x")))
    assert [receipt.failed for receipt in receipts] == [{}, {"crash": 1}, {}]
    names = ["v", "w a", "w c", "x"]
    assert chain.tracker.marks == [f"{what} {name}" for name in names for what in ("begin", "end")]


def test_a_defect_ends_all_attempts_and_the_units_before_it_are_committed(tmp_path, video):
    chain = Chain(tmp_path, video)
    receipts = chain.run(chain.job("v"), chain.job("w", ["defect"]), chain.job("x"))
    assert next(receipts).unit_id == "v"
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        next(receipts)
    log = chain.tracker.log
    begun, ended = ({entry.split()[1] for entry in log if entry.startswith(what)} for what in ("begin", "end"))
    assert begun == ended >= {"v", "w"}
    assert log.index("clock on w") < log.index("clock off w") < log.index("end w")
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == ["v.parquet"]


def test_the_time_that_the_model_waits_is_in_the_receipt(tmp_path, video):
    class SlowToPrepare(FakeSegmenter):
        def prepare(self, frame):
            time.sleep(0.05)
            return super().prepare(frame)

    chain = Chain(tmp_path, video)
    (receipt,) = chain.run(chain.job("v"), segmenter=SlowToPrepare())
    assert receipt.seconds["waiting"] > 0.2
    assert receipt.seconds["decode"] > 0.2
    assert receipt.seconds["blocked"] < 0.2
    chain = Chain(tmp_path, video)
    chain.tracker.on_end["w"] = lambda: time.sleep(0.3)
    (receipt,) = chain.run(chain.job("w"))
    assert receipt.seconds["waiting"] < 0.2


def test_the_receipt_tells_what_faster_computing_changed(tmp_path, video):
    segmenter = FakeSegmenter()
    segmenter.unit_stats = [SegmenterStats(parity=0.004, halvings=2)]
    chain = Chain(tmp_path, video)
    first, second = chain.run(chain.job("v"), chain.job("w"), segmenter=segmenter)
    assert (first.parity, first.halvings) == (0.004, 2)
    assert (second.parity, second.halvings) == (None, 0)
    assert read_receipt(str(tmp_path / "v.parquet")).parity == 0.004


def test_masks_that_are_not_good_enough_are_refused_before_they_are_committed(tmp_path, video):
    segmenter = FakeSegmenter()
    segmenter.unit_stats = [FastModeError("masks in fp16 differ")]
    rows = [{"video_id": "v", "video_uri": video, "expression_id": "0", "expression": "a"}]
    job = unit_job(str(tmp_path / "u.parquet"), rows)
    with pytest.raises(InputError, match="unit u: masks in fp16 differ"):
        segment_unit(job, segmenter, FrameOptions(window=3))
    assert [path.name for path in tmp_path.iterdir()] == ["video"]
