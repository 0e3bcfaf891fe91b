"""Several units in the chain: its threads overlap, attempts begin and end, receipts hold timings and stats."""

import threading
import time
from dataclasses import replace

import pytest

from model.errors import FastModeError
from model.segmenter import SegmenterStats
from pipeline.io import checksum, storage
from pipeline.runs.attempts import AttemptTracker
from pipeline.runs.commit import read_receipt
from pipeline.runs.retry_step import RetryStep
from pipeline.segment import decode_stage, write_stage
from pipeline.segment.chain import segment_jobs
from pipeline.segment.clips import FrameOptions
from pipeline.segment.events import UnitJob
from schemas.errors import InfrastructureError, InputError, ProcessError
from tests.one_unit import segment_unit
from tests.pipeline.segment.fake import FakeSegmenter, unit_job


class LoggingTracker(AttemptTracker):
    """Logs what happens to attempts, in order, and calls back before one ends."""

    def __init__(self, folder):
        super().__init__(folder, "driver", "node", lambda node: True)
        self.log = []
        self.on_end = {}

    def begin(self, unit_id, pair=None, *, exclusive=False, is_control=False):
        attempt = super().begin(unit_id, pair, exclusive=exclusive, is_control=is_control)
        name = " ".join(["control of"] * is_control + list(pair or [unit_id]))
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

    def job(self, name, expressions=("a",), step=None):
        common = {"video_id": name, "video_uri": self.video}
        rows = [common | {"expression_id": text, "expression": text} for text in expressions]
        return UnitJob(
            unit_id=name,
            fingerprint="f",
            uri=str(self.tmp_path / f"{name}.parquet"),
            rows=rows,
            step=step or RetryStep(),
        )

    def run(self, *jobs, segmenter=None, **options):
        return segment_jobs(jobs, segmenter or FakeSegmenter(), FrameOptions(window=3), self.tracker, **options)


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


def test_a_control_comes_before_the_second_attempt_at_a_pair_alone(tmp_path, video):
    chain, segmenter, began = Chain(tmp_path, video), FakeSegmenter(), time.monotonic()
    step = RetryStep(pair_by_pair=True, exclusive=True, after_control=frozenset({("w", "b")}), control_seconds=0.3)
    (receipt,) = chain.run(chain.job("w", ("a", "b"), step), segmenter=segmenter)
    assert (receipt.pairs, receipt.frames) == (2, 10)
    assert chain.tracker.marks == [
        f"{what} {name}" for name in ("w a", "control of w b", "w b") for what in ("begin", "end")
    ]
    assert (1, ["a shape"], None) in segmenter.calls
    assert time.monotonic() - began > 0.3


def test_a_control_that_fails_counts_against_the_host(tmp_path, video):
    chain, segmenter = Chain(tmp_path, video), FakeSegmenter()
    segmenter.segment = lambda *_: [][0]  # a broken GPU
    step = RetryStep(pair_by_pair=True, exclusive=True, after_control=frozenset({("w", "a")}), control_seconds=0.0)
    with pytest.raises(ProcessError, match="unit w on host .*: IndexError"):
        list(chain.run(chain.job("w", ["a"], step), segmenter=segmenter))
    assert [death.reason for death in chain.tracker.history("w").controls] == ["IndexError: list index out of range"]
    assert not chain.tracker.history("w").deaths


class BrokenGpu(FakeSegmenter):
    """Its output is not finite, whatever it computes."""

    def segment(self, *arguments):
        return (replace(answer, finite=False) for answer in super().segment(*arguments))


def test_a_gpu_that_is_not_finite_where_the_cpu_is_ends_the_process_before_the_unit_is_committed(tmp_path, video):
    chain = Chain(tmp_path, video)
    with pytest.raises(InfrastructureError, match="the GPU of host .* is broken: for an empty picture the model's out"):
        list(chain.run(chain.job("v"), segmenter=BrokenGpu(), load_reference=FakeSegmenter))
    assert not (tmp_path / "v.parquet").exists()


def no_memory():
    raise MemoryError


@pytest.mark.parametrize(
    ("segmenter", "load_reference"),
    [
        (FakeSegmenter, lambda: pytest.fail("an empty picture is finite here")),
        (BrokenGpu, BrokenGpu),  # the checkpoint is at fault
        (BrokenGpu, no_memory),
        (BrokenGpu, None),  # the CPU itself
    ],
)
def test_otherwise_the_pair_is_not_finite(tmp_path, video, segmenter, load_reference):
    chain = Chain(tmp_path, video)
    (receipt,) = chain.run(chain.job("v", ["nan"]), segmenter=segmenter(), load_reference=load_reference)
    assert receipt.failed == {"nan": 1}


def test_a_defect_of_the_decoder_counts_against_its_unit(tmp_path, video):
    chain, segmenter = Chain(tmp_path, video), FakeSegmenter()
    segmenter.prepare = lambda _: {}["x"]
    with pytest.raises(ProcessError, match="unit w on host .*: KeyError: 'x'"):
        list(chain.run(chain.job("w"), segmenter=segmenter))
    assert [death.reason for death in chain.tracker.history("w").deaths] == ["KeyError: 'x'"]


@pytest.mark.parametrize("step", [RetryStep(), RetryStep(pair_by_pair=True, exclusive=True)])
def test_a_defect_of_the_writer_counts_against_its_unit_or_pair(tmp_path, video, monkeypatch, step):
    """So that the ladder of attempts finds the pair. Nothing is committed."""
    whole = write_stage.pair_rows

    def pair_rows(rows, row, *values):
        return whole(rows, row, *values) if row["expression_id"] != "bad" else {}["x"]

    monkeypatch.setattr(write_stage, "pair_rows", pair_rows)
    chain = Chain(tmp_path, video)
    receipts = chain.run(chain.job("v"), chain.job("w", ["good", "bad"], step), chain.job("x"))
    assert next(receipts).unit_id == "v"
    with pytest.raises(ProcessError, match="unit w on host .*: cannot write it: KeyError: 'x'"):
        next(receipts)
    (death,) = chain.tracker.history("w").deaths
    assert (death.reason, death.pair) == ("KeyError: 'x'", ("w", "bad") if step.pair_by_pair else None)
    assert not chain.tracker.history("x").deaths
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == ["v.parquet"]


@pytest.mark.parametrize("where", ["split_rows", "stats", "seal"])
def test_a_defect_outside_of_attempts_names_the_unit_and_restarts_no_process(tmp_path, video, monkeypatch, where):
    chain, segmenter = Chain(tmp_path, video), FakeSegmenter()

    def fail(*_):
        raise ValueError("a defect")

    if where == "stats":
        segmenter.stats = fail
    else:
        monkeypatch.setattr(decode_stage if where == "split_rows" else checksum, where, fail)
    with pytest.raises(InfrastructureError, match="unit w.* on host .*: ValueError: a defect") as told:
        list(chain.run(chain.job("w"), segmenter=segmenter))
    assert not isinstance(told.value, ProcessError)
    assert chain.tracker.history("w").deaths == []


def test_a_defect_ends_all_attempts_and_the_units_before_it_are_committed(tmp_path, video):
    chain = Chain(tmp_path, video)
    receipts = chain.run(chain.job("v"), chain.job("w", ["defect"]), chain.job("x"))
    assert next(receipts).unit_id == "v"
    with pytest.raises(InfrastructureError, match="unit w, video_id=w on host .*: RuntimeError: shapes do not fit"):
        next(receipts)
    log = chain.tracker.log
    begun, ended = ({entry.split()[1] for entry in log if entry.startswith(what)} for what in ("begin", "end"))
    assert begun == ended >= {"v", "w"}
    assert log.index("clock on w") < log.index("clock off w") < log.index("end w")
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == ["v.parquet"]
    assert [death.reason for death in chain.tracker.history("w").deaths] == ["RuntimeError: shapes do not fit"]
    assert not chain.tracker.history("x").deaths


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


def test_one_unit_decides_if_a_fast_mode_is_good_enough(tmp_path, video):
    """Whichever units come first in a process, only one of the plan decides, or a broken device shows itself."""
    rows = [{"video_id": "v", "video_uri": video, "expression_id": "0", "expression": "a"}]
    for parity, decides, is_refused in ((0.03, False, False), (0.03, True, True), (0.5, False, True)):
        segmenter, uri = FakeSegmenter(), str(tmp_path / f"{parity}-{decides}.parquet")
        segmenter.unit_stats = [FastModeError("masks in fp16 differ", parity)]
        job = unit_job(uri, rows, decides=decides)
        if is_refused:
            with pytest.raises(InputError, match="masks in fp16 differ"):
                segment_unit(job, segmenter, FrameOptions(window=3))
        else:
            assert segment_unit(job, segmenter, FrameOptions(window=3)).parity == parity
        assert storage.exists(uri) != is_refused


def test_the_unit_that_decides_is_compared_after_others(tmp_path, video):
    """It may have been postponed to a process that has ended its comparison."""
    segmenter = FakeSegmenter()
    segmenter.compare_again = lambda: segmenter.unit_stats.insert(0, FastModeError("masks in fp16 differ", 0.03))
    chain = Chain(tmp_path, video)
    jobs = chain.job("v"), replace(chain.job("w"), decides=True)
    with pytest.raises(InputError, match="unit w: masks in fp16 differ"):
        list(chain.run(*jobs, segmenter=segmenter))
    assert storage.exists(jobs[0].uri)
    assert not storage.exists(jobs[1].uri)
