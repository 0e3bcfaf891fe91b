"""Frames of a few pairs with their masks drawn on them, small, as JPEGs within the page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.drawing.overlay import overlay
from pipeline.drawing.thumbnails import data_uri, plain, small, small_mask
from pipeline.evaluation.scoring.match_frames import MaskTable, MatchedFrame
from pipeline.evaluation.scoring.score_pairs import PairOutcome
from pipeline.evaluation.scoring.score_task import Scorer
from pipeline.evaluation.scoring.tasks import plan_tasks
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.io import storage
from pipeline.masks.annotations import Annotations
from pipeline.masks.predictions import manifest_of, open_predictions
from pipeline.masks.requested import MaskKey, pairs_from_annotations, pairs_from_manifest, requested_pairs
from pipeline.video import Selection, read_frames
from schemas import rle
from schemas.errors import InputError, MediaError

FRAMES = 6  # of one strip


@dataclass(frozen=True, slots=True)
class Tile:
    """One frame. `lowest`: of all frames of the pair, scored or not shown, it has the lowest J."""

    image: str  # data URI
    width: int
    height: int
    label: str
    j: float
    f: float
    lowest: bool


@dataclass(frozen=True, slots=True)
class Strip:
    """Some frames of one pair, in order. `note` says what is missing."""

    expression: str
    tiles: Sequence[Tile]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Overlays:
    """Where masks and frames of scored pairs come from."""

    scorer: Scorer
    asked: pa.Table
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
    ) -> "Overlays":
        """From what the summary records, unless told where it is now. Raises InputError or OSError."""
        summary = scored.summary
        predictions = predictions or summary["predictions"]
        truth = Annotations.open(annotations or summary["annotations"])
        source = open_predictions(predictions)
        rows, step = manifest_of(predictions, manifest or summary.get("manifest"))
        if rows is None:
            asked = pairs_from_annotations(truth.keys_by_video(), truth.key, source.are_objects)
        else:
            asked = pairs_from_manifest(rows, truth.keys_by_video(), truth.key)
        scorer = Scorer(
            source=source,
            truth=truth,
            protocol=scored.protocol,
            missing=summary["missing_rule"],
            frame_step=step,
        )
        expressions, videos = {}, {}
        if rows is not None:
            for row in rows.select(["video_id", "expression_id", "expression", "video_uri"]).to_pylist():
                expressions[row["video_id"], row["expression_id"]] = row["expression"] or ""
                videos[row["video_id"]] = row["video_uri"]
        return cls(scorer, asked, expressions, videos | _files(media))

    def strips(self, wanted: Sequence[MaskKey], same: dict[MaskKey, Strip] | None = None) -> dict[MaskKey, Strip]:
        """The strips of some pairs; those that cannot be found are left out.

        same: strips whose frames are to be shown, as far as they are there, in place of a choice of its own.
        Raises InputError if tables or annotations are broken.
        """
        found = {}
        for task in plan_tasks(self.scorer.source, self._rows(set(wanted)), whole_videos=True)[0]:
            outcomes, masks = self.scorer.outcomes(task)
            by_video: dict[str, list[PairOutcome]] = {}
            for outcome in outcomes:
                if outcome.pair.key in wanted:
                    by_video.setdefault(outcome.pair.video_id, []).append(outcome)
            for video, of_video in by_video.items():
                chosen = {one.pair.key: _choose(one, (same or {}).get(one.pair.key)) for one in of_video}
                images, note = self._images(video, [frame for of in chosen.values() for frame, _ in of], masks)
                for outcome in of_video:
                    key = outcome.pair.key
                    tiles = list(_tiles(outcome, chosen[key], masks, images))
                    note = note if tiles else "No frame of it is scored."
                    found[key] = Strip(self.expressions.get(key, ""), tiles, note)
        return found

    def _rows(self, wanted: set[MaskKey]) -> pa.Table:
        """What is asked for of these pairs; with assignment, of their whole videos."""
        videos = pa.array(sorted({video for video, _ in wanted}), pa.string())
        rows = self.asked.filter(pc.is_in(self.asked["video_id"], videos))
        if self.scorer.protocol.assigned:
            return rows
        pairs = requested_pairs(rows, self.scorer.truth.key, self.scorer.frame_step)
        return rows.filter(pa.array([pair.key in wanted for pair in pairs], pa.bool_()))

    def _images(
        self, video: str, frames: Sequence[MatchedFrame], masks: MaskTable
    ) -> tuple[dict[str | int, np.ndarray], str]:
        """Small pictures of some frames by label, and why there are none."""
        uri = self.videos.get(video)
        if uri is None:
            return {}, "Where its video is, is not known; give --manifest or --media to see frames."
        names = {frame.label: _name(frame, masks) for frame in frames}
        by_name = bool(names) and all(names.values())
        selection = (
            Selection(names=tuple(sorted(set(names.values()))))  # pyright: ignore[reportArgumentType]
            if by_name
            else Selection(indices=tuple(sorted({frame.index for frame in frames})))
        )
        labels = {(names[frame.label] if by_name else frame.index): frame.label for frame in frames}
        try:
            return {
                labels[frame.name if by_name else frame.index]: small(frame.image)
                for frame in read_frames(uri, selection)
            }, ""
        except MediaError as error:
            return {}, f"Its video cannot be shown: {error}"


def _files(media: str | None) -> dict[str, str]:
    """What lies in a folder of videos, by name without ending."""
    if media is None:
        return {}
    folder = storage.absolute(media)
    if not storage.is_folder(folder):
        raise InputError(f"--media {folder} is no folder; give one that holds a folder or file for each video")
    uris = {name: storage.join(folder, name) for name in storage.names(folder)}
    return {name.rpartition(".")[0] or name: uri for name, uri in uris.items()} | uris


def _name(frame: MatchedFrame, masks: MaskTable) -> str | None:
    rows = [*frame.truth, frame.prediction]
    return next((masks.name[row] for row in rows if row >= 0 and masks.name[row] is not None), None)


def _choose(outcome: PairOutcome, same: Strip | None) -> list[tuple[MatchedFrame, int]]:
    """Frames of an outcome with their places: evenly spread, and the one with the lowest J; or those of `same`."""
    frames, track = outcome.frames, outcome.track
    if track is None:
        return []
    if same is not None and same.tiles:
        labels = {tile.label for tile in same.tiles}
        return [(frame, n) for n, frame in enumerate(frames) if str(frame.label) in labels]
    spread = np.linspace(0, len(frames) - 1, min(FRAMES - 1, len(frames))).astype(int).tolist()
    return [(frames[n], n) for n in sorted({*spread, int(np.argmin(track.j))})]


def _tiles(
    outcome: PairOutcome,
    chosen: Sequence[tuple[MatchedFrame, int]],
    masks: MaskTable,
    images: dict[str | int, np.ndarray],
) -> Iterator[Tile]:
    track = outcome.track
    if track is None:
        return
    lowest = int(np.argmin(track.j))
    for frame, n in chosen:
        image = images.get(frame.label)
        if image is None:
            image = plain(*frame.size)
        drawn = overlay(image, _mask([frame.prediction], masks, image), _mask(frame.truth, masks, image))
        yield Tile(
            image=data_uri(drawn),
            width=image.shape[1],
            height=image.shape[0],
            label=str(frame.label),
            j=float(track.j[n]),
            f=float(track.f[n]),
            lowest=n == lowest and len(outcome.frames) > 1,
        )


def _mask(rows: Sequence[int], masks: MaskTable, image: np.ndarray) -> np.ndarray | None:
    """The union of some masks at the size of `image`, bool [H, W]; None if there are none, or one is broken."""
    union = None
    for row in rows:
        counts = masks.counts[row].as_py() if row >= 0 else None
        if counts is None:
            continue
        try:
            mask = rle.decode(counts, *masks.size[row])
        except rle.RleError:
            return None
        there = small_mask(mask, image)
        union = there if union is None else union | there
    return union
