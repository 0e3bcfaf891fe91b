"""Score some pairs: match their masks by frame, count the pixels of all frames at once, then make a track of each."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.metrics import count_columns
from pipeline.evaluation.metrics.pair_metrics import ObjectTrack
from pipeline.evaluation.protocols import MissingRule, Protocol
from pipeline.evaluation.scoring.assignment import UNASSIGNED, assign
from pipeline.evaluation.scoring.counting import PairMatch, fill_counts
from pipeline.evaluation.scoring.digest import prediction_digest, truth_digest
from pipeline.evaluation.scoring.gap_objects import first_frame_objects
from pipeline.evaluation.scoring.match_frames import MaskTable, MatchedFrame, match_frames
from pipeline.masks.annotations import Annotations, rows_of_videos
from pipeline.masks.frame_numbers import are_renamed
from pipeline.masks.label_numbers import are_labels
from pipeline.masks.pairs_to_score import MaskKey, RequestedPair
from schemas import rle
from schemas.errors import InputError
from schemas.masks import VOID
from schemas.pair import PairKey

MAX_PROBLEMS = 20  # listed in an error text
NOT_PREDICTED = ("failed", "missing", "misshaped")  # statuses of pairs that are scored as if nothing were predicted


@dataclass(frozen=True, slots=True)
class PairOutcome:
    """The result of one pair.

    status: scored; failed (its own rows say so), misshaped (its masks are corrupt or do not fit) or missing, all three
    scored as if nothing were predicted; or unannotated: none of its frames counts, and it has no track.
    """

    pair: RequestedPair
    status: str
    error: str | None = None
    track: ObjectTrack | None = None
    missing_frames: int = 0
    frames: Sequence[MatchedFrame] = ()
    candidates: Sequence[dict] = ()  # frame, score, area, truth_area, iou
    only_predicted: Sequence[str | int] = ()  # frames that are not annotated
    frame_mismatch: str | None = None  # frames of both sides, if none is in common
    truth_digest: bytes | None = None  # None if unannotated
    prediction_digest: bytes | None = None


def score_pairs(
    pairs: Sequence[RequestedPair],
    predictions: pa.Table,
    truth: pa.Table,
    annotations: Annotations,
    protocol: Protocol,
    missing: MissingRule,
) -> tuple[list[PairOutcome], MaskTable]:
    """Return the outcomes of `pairs`, in their order. `truth`: the rows of their videos in `annotations`.

    Raises InputError that lists the problems of the annotations.
    """
    videos = {pair.video_id for pair in pairs}
    void, foreground = (
        None if table is None else rows_of_videos(table, VOID, videos)
        for table in (
            annotations.void if protocol.void else None,
            annotations.foreground if "R" in protocol.metrics else None,
        )
    )
    masks = MaskTable(predictions, truth, annotations.key, void, foreground)
    pairs = [_without_target(pair, masks) if pair.says_no_target else pair for pair in pairs]
    objects = first_frame_objects(truth) if protocol.first_frame_objects and annotations.key == "object_id" else None
    problems: list[str] = []
    matches = [
        _match(pair, key, masks, protocol, objects, problems)
        for pair, keys in zip(pairs, _prediction_keys(pairs, masks, protocol), strict=True)
        for key in keys
    ]
    problems = problems or fill_counts(matches, masks)
    if problems:
        more = [f"... and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        raise InputError("\n".join([*sorted(problems)[:MAX_PROBLEMS], *more]))
    not_ok = pc.fill_null(pc.not_equal(predictions["status"], "ok"), False)
    failed = predictions.filter(pc.or_(pc.is_null(predictions["frame_index"]), not_ok))
    errors: dict[MaskKey, str] = {
        PairKey.of(row): f"{row['status'] or 'failed'}: {row['error'] or 'no reason given'}"
        for row in failed.select(["video_id", "expression_id", "status", "error"]).to_pylist()
    }
    by_pair: dict[int, list[PairMatch]] = defaultdict(list)
    for match in matches:
        by_pair[match.pair.row].append(match)
    chosen = assign(matches, masks) if protocol.assigned else {row: of_pair[0] for row, of_pair in by_pair.items()}
    return [
        _outcome(chosen[pair.row], by_pair[pair.row], errors.get(pair.key), masks, protocol, missing) for pair in pairs
    ], masks


def _without_target(pair: RequestedPair, masks: MaskTable) -> RequestedPair:
    """Return a pair without a target as such, although annotations are by expression, unless these show one."""
    own = [row for key in pair.annotation_keys for row in masks.truth.get((pair.video_id, key), [])]
    return pair if any(_area(row, masks) > 0 for row in own) else replace(pair, annotation_keys=())


def _prediction_keys(pairs: Sequence[RequestedPair], masks: MaskTable, protocol: Protocol) -> list[list[MaskKey]]:
    """List the predictions to match with each pair: its own first; with assignment, then those of its group."""
    if not protocol.assigned:
        return [[pair.key] for pair in pairs]
    groups: dict[tuple[str, str | None], list[RequestedPair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.video_id, pair.annotator].append(pair)
    by_video: dict[str, list[MaskKey]] = defaultdict(list)
    for key in masks.predictions:
        by_video[key[0]].append((key[0], key[1]))
    keys = {}
    for (video, annotator), group in groups.items():
        if all(pair.expression_id is None for pair in group):  # label maps: all labels compete, annotated or not
            keys[video, annotator] = sorted(by_video[video], key=lambda key: (len(key[1]), key[1]))
        else:
            keys[video, annotator] = [pair.key for pair in group if pair.key in masks.predictions]
    return [list(dict.fromkeys([pair.key, *keys[pair.video_id, pair.annotator], UNASSIGNED])) for pair in pairs]


def _match(
    pair: RequestedPair,
    key: MaskKey,
    masks: MaskTable,
    protocol: Protocol,
    objects: dict[str, set[str]] | None,
    problems: list[str],
) -> PairMatch:
    """Match a pair with one prediction, for the frames that the protocol scores. `objects`: `first_frame_objects`."""
    found = match_frames(pair, masks, key)
    problems += [pair.message(text) for text in found.annotation_problems]
    frames = found.frames
    if objects is not None and not pair.is_gap and not _counts(pair, objects.get(pair.video_id, set()), masks):
        frames = []
    if protocol.inner_frames:
        frames = frames[1:-1]
    error = "; ".join(found.prediction_problems) or None
    match = PairMatch(pair, key, frames, error, found.only_predicted, len(found.frames), found.in_common, found.shift)
    if "mAP" in protocol.metrics and match.error is None:
        match.candidates = [(frame, row) for frame in frames for row in frame.candidates]
    return match


def _counts(pair: RequestedPair, first: set[str], masks: MaskTable) -> bool:
    """Return whether no label of the pair is above the highest one in the first annotated frame of its video."""
    of_video = [key[1] for key in masks.truth if key[0] == pair.video_id]
    if not are_labels(of_video):
        return first.issuperset(pair.annotation_keys)
    highest = max(map(int, first), default=0)
    return all(object_id in of_video and int(object_id) <= highest for object_id in pair.annotation_keys)


def _area(row: int, masks: MaskTable) -> int:
    """Return the foreground pixels of one row of annotations; -1 if `row` is -1."""
    if row < 0:
        return -1
    counts = masks.counts[row].as_py()
    try:
        return 0 if counts is None else int(rle.run_lengths(counts, *masks.size[row])[1::2].sum())
    except rle.RleError as reason:
        raise InputError(f"annotation of frame {masks.index[row]}: {reason}") from None


def _outcome(
    match: PairMatch,
    alternatives: Sequence[PairMatch],
    error: str | None,
    masks: MaskTable,
    protocol: Protocol,
    missing: MissingRule,
) -> PairOutcome:
    """Return the outcome of the chosen match. `error`: of the pair's own rows; alternatives: its own match first."""
    pair, own = match.pair, alternatives[0]
    status = "scored" if pair.key in masks.predictions or pair.is_gap else "missing"
    if error is not None or own.error is not None:
        status, error = ("failed", error) if error is not None else ("misshaped", own.error)
    lost = _lost_frames(match, has_failed=status == "failed" and match.predicted_as == pair.key)
    scored_zero = missing != "empty" or (protocol.missing_pair_scores_zero and bool(lost.all()))
    track = ObjectTrack.of(
        np.array([frame.index for frame in match.frames], np.int32),
        match.counts[: len(match.frames)],
        np.array([frame.size[0] * frame.size[1] for frame in match.frames], np.int64),
        np.array([_area(frame.foreground, masks) for frame in match.frames], np.int64),
        lost & scored_zero,
        not pair.annotation_keys,
    )
    keep = track.truth_area > 0 if protocol.present_frames else np.ones(len(lost), bool)
    if not keep.any():
        text = f"{protocol.name} scores none of its {own.annotated} annotated frames"
        return PairOutcome(pair, "unannotated", text if own.annotated else None)
    mismatch = _frame_mismatch(own)
    missing_frames = int((lost & keep).sum())
    digests = truth_digest(pair, match, masks), prediction_digest(pair, alternatives, masks)
    if missing == "skip":
        keep &= ~lost
    is_left = bool(keep.any())
    if status == "scored" and not is_left:
        status = "missing"
    return PairOutcome(
        pair,
        status,
        error,
        track.take(keep) if is_left else None,
        missing_frames,
        [frame for frame, kept in zip(match.frames, keep.tolist(), strict=True) if kept],
        _candidates(match, masks) if is_left else (),
        own.only_predicted,
        mismatch,
        *digests,
    )


def _lost_frames(match: PairMatch, *, has_failed: bool) -> np.ndarray:
    """Return which frames have no prediction, bool [frames]: all of a pair that failed, or whose masks do not fit."""
    if match.pair.is_gap:  # nothing should be predicted, and nothing is missing
        return np.zeros(len(match.frames), bool)
    if has_failed or match.error is not None:
        return np.ones(len(match.frames), bool)
    return np.array([frame.prediction < 0 for frame in match.frames], bool)


def _frame_mismatch(match: PairMatch) -> str | None:
    """Return an error text with a frame of each side if no or hardly any predicted frame is annotated, or all are
    shifted.
    """
    if match.shift and match.in_common:
        text = f"all numbers of the predicted frames differ by {match.shift:+} from those of the annotated ones"
        return f"{text} ({match.only_predicted[0]} is not annotated); name each mask as its frame"
    lost = [frame.label for frame in match.frames if frame.prediction < 0]
    if match.in_common and are_renamed(len(match.frames), len(lost), len(match.only_predicted)):
        text = f"{len(lost)} of {len(match.frames)} annotated frames are not predicted, and {len(match.only_predicted)}"
        sides = f"predicted {match.only_predicted[0]}, annotated {lost[0]}"
        return f"{text} predicted ones are not annotated ({sides}); name each mask as its frame"
    if match.in_common or not match.only_predicted:
        return None
    sides = f"predicted {match.only_predicted[0]}, annotated {match.frames[0].label}"
    return f"no predicted frame is annotated ({sides}); frame names or indices must be equal"


def _candidates(match: PairMatch, masks: MaskTable) -> list[dict]:
    """Return the candidates on frames that show the target."""
    rows = []
    for (frame, row), counts in zip(match.candidates, match.counts[len(match.frames) :].tolist(), strict=True):
        inter, union, area = counts[count_columns.INTER], counts[count_columns.UNION], counts[count_columns.PREDICTED]
        if inter + union - area > 0:
            score, iou = masks.score[row] or 0.0, inter / union if union else 0.0
            truth_area = inter + union - area
            rows.append({"frame": frame.index, "score": score, "area": area, "truth_area": truth_area, "iou": iou})
    return rows
