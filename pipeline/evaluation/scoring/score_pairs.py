"""Score some pairs: join by frame, count over all frames at once, choose, then a track for each pair."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.metrics import kernel
from pipeline.evaluation.metrics.pair_metrics import ObjectTrack
from pipeline.evaluation.protocols import Missing, Protocol
from pipeline.evaluation.scoring.assignment import NOTHING, assign
from pipeline.evaluation.scoring.digest import prediction_digest, truth_digest
from pipeline.evaluation.scoring.match_frames import MaskTable, MatchedFrame, match_frames
from pipeline.evaluation.scoring.pixel_counts import PairMatch, run_kernel
from pipeline.masks.annotations import Annotations
from pipeline.masks.requested import MaskKey, RequestedPair
from schemas import rle
from schemas.errors import InputError
from schemas.pair import PairKey

LISTED_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class PairOutcome:
    """What became of one pair.

    status: scored; failed (by its own rows), misshaped (its masks are broken, or do not fit) or missing, all of which
    are scored as if nothing were predicted; or unannotated: no frame of it counts, and there is no track.
    """

    pair: RequestedPair
    status: str
    error: str | None = None
    track: ObjectTrack | None = None
    missing_frames: int = 0
    frames: Sequence[MatchedFrame] = ()
    candidates: Sequence[dict] = ()  # frame, score, area, truth_area, iou
    truth_digest: bytes | None = None  # of what was scored against what; none if unannotated
    prediction_digest: bytes | None = None


def score_pairs(
    pairs: Sequence[RequestedPair], predictions: pa.Table, truth: Annotations, protocol: Protocol, missing: Missing
) -> tuple[list[PairOutcome], MaskTable]:
    """What becomes of `pairs`, in their order. Raises InputError, listing what is wrong, if annotations are broken."""
    videos = {pair.video_id for pair in pairs}
    masks = MaskTable(
        predictions,
        truth.rows(videos),
        truth.key,
        truth.void_rows(videos) if protocol.void else None,
        truth.foreground_rows(videos) if "R" in protocol.metrics else None,
    )
    problems: list[str] = []
    works = [_work(pair, key, masks, protocol, problems) for pair, key in _matches(pairs, masks, protocol)]
    _refuse(problems)
    problems += run_kernel(works, masks)
    _refuse(problems)
    failed = _failed(predictions)
    by_pair: dict[int, list[PairMatch]] = {}
    for work in works:
        by_pair.setdefault(work.pair.row, []).append(work)
    chosen = assign(works) if protocol.assigned else {row: of[0] for row, of in by_pair.items()}
    return [
        _outcome(pair, chosen[pair.row], by_pair[pair.row], failed, masks, protocol, missing) for pair in pairs
    ], masks


def _matches(
    pairs: Sequence[RequestedPair], masks: MaskTable, protocol: Protocol
) -> list[tuple[RequestedPair, MaskKey]]:
    """Which predictions each pair is scored against: its own first, with assignment those of its group too."""
    if not protocol.assigned:
        return [(pair, pair.key) for pair in pairs]
    groups: dict[tuple[str, str | None], list[RequestedPair]] = {}
    for pair in pairs:
        groups.setdefault((pair.video_id, pair.annotator), []).append(pair)
    found = []
    for (video, _), group in groups.items():
        keys = [pair.key for pair in group if pair.key in masks.predictions]
        if all(pair.expression_id is None for pair in group):  # label maps: all labels compete, annotated or not
            keys = [key for key in masks.predictions if key[0] == video]
        found += [(pair, key) for pair in group for key in dict.fromkeys([pair.key, *sorted(keys), NOTHING])]
    return found


def _work(pair: RequestedPair, key: MaskKey, masks: MaskTable, protocol: Protocol, problems: list[str]) -> PairMatch:
    joined = match_frames(pair, masks, key)
    problems += [pair.message(text) for text in joined.wrong_truth]
    frames = joined.frames
    by_object = masks.truth_key == "object_id"
    if (
        protocol.first_frame_objects
        and by_object
        and not set(pair.annotation_keys) <= _first_frame_objects(pair.video_id, masks)
    ):
        frames = []
    if protocol.inner_frames:
        frames = frames[1:-1]
    work = PairMatch(pair, key, frames, "; ".join(joined.wrong_prediction) or None)
    if "mAP" in protocol.metrics and work.error is None:
        work.candidates = [(frame, row) for frame in frames for row in frame.candidates]
    return work


def _first_frame_objects(video: str, masks: MaskTable) -> set[str]:
    """The objects of a video with a label of at most the highest one in its first annotated frame."""
    tracks = {track[1]: rows for track, rows in masks.truth.items() if track[0] == video}
    first = min((masks.index[row] for rows in tracks.values() for row in rows), default=None)
    seen = {
        thing for thing, rows in tracks.items() for row in rows if masks.index[row] == first and _area(row, masks) > 0
    }
    if not all(thing.isdigit() for thing in tracks):
        return seen
    highest = max(map(int, seen), default=0)
    return {thing for thing in tracks if int(thing) <= highest}


def _refuse(problems: list[str]) -> None:
    if problems:
        more = f"\n... and {len(problems) - LISTED_PROBLEMS} more" if len(problems) > LISTED_PROBLEMS else ""
        raise InputError("\n".join(sorted(problems)[:LISTED_PROBLEMS]) + more)


def _failed(table: pa.Table) -> dict[MaskKey, str]:
    """The pairs that failed, with the reason: a row without a frame, or with another status than ok."""
    rows = pc.is_null(table["frame_index"])
    if "status" in table.column_names:
        rows = pc.or_(rows, pc.fill_null(pc.not_equal(table["status"], "ok"), False))
    found = table.filter(rows).drop_columns(["counts"]).to_pylist()
    return {
        PairKey.of(row): f"{row.get('status') or 'failed'}: {row.get('error') or 'no reason given'}" for row in found
    }


def _outcome(
    pair: RequestedPair,
    work: PairMatch,
    alternatives: Sequence[PairMatch],
    failed: dict[MaskKey, str],
    masks: MaskTable,
    protocol: Protocol,
    missing: Missing,
) -> PairOutcome:
    status, error = _status(pair, alternatives[0], failed, masks)
    lost = np.array([frame.prediction < 0 for frame in work.frames], bool)
    if work.error is not None or (status == "failed" and work.predicted_as == pair.key):
        lost[:] = True
    track = _track(work, lost & (missing != "empty"), masks)
    keep = track.truth_area > 0 if protocol.present_frames else np.ones(len(lost), bool)
    if not keep.any():
        return PairOutcome(pair, "unannotated")
    missing_frames = int((lost & keep).sum())
    digests = truth_digest(pair, work, masks), prediction_digest(pair, alternatives, masks)
    if missing == "skip":
        keep &= ~lost
        if not keep.any():
            return PairOutcome(
                pair, "missing" if status == "scored" else status, error, None, missing_frames, (), (), *digests
            )
    frames = [frame for frame, kept in zip(work.frames, keep.tolist(), strict=True) if kept]
    candidates = [row for row in _candidates(work, masks) if row["truth_area"] > 0]
    return PairOutcome(pair, status, error, track.take(keep), missing_frames, frames, candidates, *digests)


def _status(
    pair: RequestedPair, own: PairMatch, failed: dict[MaskKey, str], masks: MaskTable
) -> tuple[str, str | None]:
    if pair.key in failed:
        return "failed", failed[pair.key]
    if own.error is not None:
        return "misshaped", own.error
    return ("scored" if pair.key in masks.predictions else "missing"), None


def _track(work: PairMatch, missing: np.ndarray, masks: MaskTable) -> ObjectTrack:
    foreground = [_area(frame.foreground, masks) for frame in work.frames]
    return ObjectTrack.of(
        np.array([frame.index for frame in work.frames], np.int32),
        work.counts[: len(work.frames)],
        np.array([frame.size[0] * frame.size[1] for frame in work.frames], np.int64),
        np.array(foreground, np.int64),
        missing,
        not work.pair.annotation_keys,
    )


def _area(row: int, masks: MaskTable) -> int:
    """Foreground pixels of one row of annotations; -1 if there is no such row."""
    if row < 0:
        return -1
    counts = masks.counts[row].as_py()
    try:
        return 0 if counts is None else int(rle.run_lengths(counts, *masks.size[row])[1::2].sum())
    except rle.RleError as reason:
        raise InputError(f"annotation of frame {masks.index[row]}: {reason}") from None


def _candidates(work: PairMatch, masks: MaskTable) -> list[dict]:
    rows = []
    for (frame, row), counts in zip(work.candidates, work.counts[len(work.frames) :].tolist(), strict=True):
        inter, union, area = counts[kernel.INTER], counts[kernel.UNION], counts[kernel.PREDICTED]
        rows.append(
            {
                "frame": frame.index,
                "score": masks.score[row] or 0.0,
                "area": area,
                "truth_area": inter + union - area,
                "iou": inter / union if union else 0.0,
            }
        )
    return rows
