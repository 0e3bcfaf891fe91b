"""The chain of one actor, without Ray: decode, run the model and write, each in its own thread.

    jobs ─► decode ─ windows ─► model ─ answers ─► write ─► receipts

While the model is at one unit, the next is decoded and the one before is written.
"""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing

from model.segmenter import Segmenter
from pipeline.runs.attempts import AttemptTracker
from pipeline.runs.commit import Receipt
from pipeline.segment.channel import run_in_thread
from pipeline.segment.clips import FrameOptions
from pipeline.segment.decode_stage import decode_units
from pipeline.segment.events import DecodeEvent, ModelEvent, UnitJob, UnitStart
from pipeline.segment.model_stage import ModelStage
from pipeline.segment.write_stage import Postponed, write_unit

# Between two threads. A window is one event, a small unit about six. By default a window takes 25 MB at 360x640, and
# the masks of one pair in it 15 MB at 480p.
EVENTS_AHEAD = 16
BYTES_AHEAD = 2**27
DECODING_NICE = 10  # on a CPU, decoding shares the cores with the model, which everything waits for


def segment_jobs(
    jobs: Iterable[UnitJob],
    segmenter: Segmenter,
    options: FrameOptions,
    tracker: AttemptTracker,
    elsewhere: Callable[[], Iterable[str]] = tuple,
    load_reference: Callable[[], Segmenter] | None = None,
) -> Generator[Receipt | Postponed, None, None]:
    """Write and commit the objects of units: every plan row ends as masks or as one error row.

    Yields, in the order of `jobs`, the receipt of the object at each `job.uri`: that of another attempt if it was
    first; or that the unit is postponed. The decoding thread iterates `jobs`, some units ahead. Closes `tracker` at the
    end. `load_reference` as for `ModelStage`.
    """
    windows: Generator[DecodeEvent, None, None] = run_in_thread(
        lambda put: decode_units(jobs, segmenter, options, tracker, put, elsewhere),
        EVENTS_AHEAD,
        BYTES_AHEAD,
        DECODING_NICE,
    )
    events: Generator[ModelEvent, None, None] = run_in_thread(
        lambda put: ModelStage(segmenter, put, load_reference).run(windows), EVENTS_AHEAD, BYTES_AHEAD
    )
    with closing(tracker), closing(events):
        for event in events:
            assert isinstance(event, UnitStart)
            yield write_unit(event, events, tracker)
