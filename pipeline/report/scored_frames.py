"""Strips of frames of scored pairs: predicted masks, true masks, and the scores of each frame."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.drawing.thumbnails import blank_frame, shrink_mask
from pipeline.evaluation.scoring.match_frames import MaskTable
from pipeline.evaluation.scoring.score_pairs import PairOutcome
from pipeline.evaluation.scoring.score_task import Scorer
from pipeline.evaluation.scoring.tasks import Scoring, plan_scoring
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.io import storage
from pipeline.io.manifest import uri_problem
from pipeline.masks.pairs_to_score import MaskKey, requested_pairs
from pipeline.masks.predictions import manifest_of
from pipeline.report.frame_strips import STRIP_FRAMES, FrameStrip, Thumbnail, draw_thumbnail, read_thumbnails, spread
from schemas import rle
from schemas.errors import InputError


@dataclass(frozen=True, slots=True)
class ScoredFrames:
    """Masks and frames of scored pairs, read again where they were scored or where they are now."""

    scorer: Scorer
    requested: pa.Table
    expressions: dict[MaskKey, str] = field(default_factory=dict)
    videos: dict[str, str] = field(default_factory=dict)  # URI by video_id

    @classmethod
    def open(
        cls,
        scored: ScoreFolder,
        *,
        predictions: str | None = None,
        annotations: str | None = None,
        manifest: str | None = None,
        media: str | None = None,
        allow_local: bool = False,
    ) -> "ScoredFrames":
        """Open the files that the summary records, or those given here. Raises InputError or OSError."""
        summary = scored.summary
        predictions = predictions or scored.place_of("predictions", allow_local=allow_local) or ""
        annotations = annotations or scored.place_of("annotations", allow_local=allow_local) or ""
        manifest = manifest or scored.place_of("manifest", allow_local=allow_local)
        rows = manifest_of(predictions, manifest, allow_local=allow_local)
        scoring = Scoring.open(predictions, annotations, rows, scored.protocol, summary["missing_rule"], force=True)
        located: dict[str, str] = {}
        if media is not None:
            folder = storage.absolute(media)
            if not storage.is_folder(folder):
                text = "is not a folder; give a folder with one folder or file for each video"
                raise InputError(f"--media {folder} {text}")
            files = {name: storage.join(folder, name) for name in storage.names(folder)}
            located = {name.rpartition(".")[0] or name: uri for name, uri in files.items()} | files
        requested = scoring.requested()
        expressions, videos = {}, {}
        columns = ["video_id", "expression_id", "expression", "video_uri"]
        for row in [] if rows is None else rows.select(columns).to_pylist():
            expressions[row["video_id"], row["expression_id"]] = row["expression"] or ""
            if uri_problem(row["video_uri"]) is None:
                videos[row["video_id"]] = row["video_uri"]
        return cls(scoring.scorer, requested, expressions, videos | located)

    def strips(
        self, wanted: Sequence[MaskKey], like: dict[MaskKey, FrameStrip] | None = None
    ) -> dict[MaskKey, FrameStrip]:
        """Draw the strips of some pairs; pairs that cannot be found are left out.

        like: strips of the same pairs, whose frames are shown again as far as they are scored here too.
        Raises InputError if tables or annotations are broken.
        """
        strips = {}
        requested = self._requested_rows(set(wanted))
        for task in plan_scoring(self.scorer.source, requested, whole_videos=True)[0]:
            outcomes, masks = self.scorer.outcomes(task)
            by_video: dict[str, list[PairOutcome]] = {}
            for outcome in outcomes:
                if outcome.pair.key in wanted:
                    by_video.setdefault(outcome.pair.video_id, []).append(outcome)
            for video, of_video in by_video.items():
                chosen = {one.pair.key: _choose_frames(one, (like or {}).get(one.pair.key)) for one in of_video}
                places = {}
                for outcome in of_video:
                    for frame in (outcome.frames[n] for n in chosen[outcome.pair.key]):
                        rows = [row for row in [*frame.truth, frame.prediction] if row >= 0]
                        name = next((masks.name[row] for row in rows if masks.name[row] is not None), None)
                        places[frame.label] = frame.index, name
                images, note = read_thumbnails(self.videos.get(video), places, "--manifest or --media")
                for outcome in of_video:
                    key = outcome.pair.key
                    thumbnails = _thumbnails(outcome, chosen[key], masks, images)
                    reason = note if thumbnails else "No frame of this pair is scored."
                    strips[key] = FrameStrip(self.expressions.get(key, ""), thumbnails, reason)
        return strips

    def _requested_rows(self, wanted: set[MaskKey]) -> pa.Table:
        """Return the rows of `requested` of these pairs; for protocols with assignment, of their whole videos."""
        videos = pa.array(sorted({video for video, _ in wanted}), pa.string())
        rows = self.requested.filter(pc.is_in(self.requested["video_id"], videos))
        if self.scorer.protocol.assigned:
            return rows
        pairs = requested_pairs(rows, self.scorer.truth.key, self.scorer.frame_step)
        return rows.filter(pa.array([pair.key in wanted for pair in pairs], pa.bool_()))


def _choose_frames(outcome: PairOutcome, like: FrameStrip | None) -> list[int]:
    """Positions of the frames to show: evenly spread and the one with the lowest J, or those of `like`."""
    if outcome.track is None:
        return []
    if like is not None and like.thumbnails:
        labels = {thumbnail.label for thumbnail in like.thumbnails}
        return [n for n, frame in enumerate(outcome.frames) if str(frame.label) in labels]
    return sorted({*spread(len(outcome.frames), STRIP_FRAMES - 1), int(np.argmin(outcome.track.j))})


def _thumbnails(
    outcome: PairOutcome, chosen: Sequence[int], masks: MaskTable, images: dict[str | int, np.ndarray]
) -> list[Thumbnail]:
    track = outcome.track
    if track is None:
        return []
    lowest = int(np.argmin(track.j)) if len(outcome.frames) > 1 else -1
    thumbnails = []
    for n in chosen:
        frame = outcome.frames[n]
        image = images.get(frame.label)
        if image is None:
            image = blank_frame(*frame.size)
        predicted, truth = (_union(rows, masks, image) for rows in ([frame.prediction], frame.truth))
        figures = f"J {track.j[n]:.2f}", f"F {track.f[n]:.2f}"
        thumbnails.append(draw_thumbnail(image, predicted, truth, frame.label, figures, lowest=n == lowest))
    return thumbnails


def _union(rows: Iterable[int], masks: MaskTable, image: np.ndarray) -> np.ndarray | None:
    """Union of some masks at the size of `image`, bool [h, w]; None if there are none, or one is broken."""
    union = None
    for row in rows:
        counts = masks.counts[row].as_py() if row >= 0 else None
        if counts is None:
            continue
        try:
            mask = shrink_mask(rle.decode(counts, *masks.size[row]), image)
        except rle.RleError:
            return None
        union = mask if union is None else union | mask
    return union
