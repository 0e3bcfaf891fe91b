"""Write the units of a run whose masks another tool has made."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
from pycocotools import mask as coco

from pipeline.export.all_frames import frame_names_at
from pipeline.imported.pair import ImportedPair, require_mask
from pipeline.imported.source import Source, TreeSource
from pipeline.io.manifest import row_problems
from pipeline.masks.frame_numbers import are_renamed, is_number, shift_of
from pipeline.runs.commit import Receipt, UnitWriter
from pipeline.runs.moved import with_present_uris
from pipeline.runs.plan_reader import PlanReader
from pipeline.runs.run import Run, Unit
from pipeline.segment.write_stage import error_row
from pipeline.video import Selection, VideoHeader, probe
from schemas import rle
from schemas.advice import outside_a_run
from schemas.errors import ImplausibleError, MediaError
from schemas.masks import PREDICTIONS
from schemas.pair import PairKey
from schemas.printable import counted

MissingMasks = Literal["error", "empty"]
NOT_REQUESTED = "masks of frames that the manifest does not ask for"


@dataclass(slots=True)
class UnitImporter:
    """Writes units one by one; memory is the masks of one unit. `filled`: frames that got an empty mask."""

    run: Run
    source: Source
    missing: MissingMasks
    force: bool = False  # take masks whose numbers are shifted
    reader: PlanReader = field(init=False)
    filled: int = 0

    def __post_init__(self) -> None:
        self.reader = PlanReader(self.run)

    def write(self, unit: Unit) -> Receipt:
        """Write and commit one unit. Raises InputError for a pair with two masks of a frame or shifted numbers."""
        rows = with_present_uris(self.reader.rows(unit), self.run.folder)
        found = self.source.read(rows)
        receipt = Receipt(unit.unit_id, self.run.fingerprint, run_id=self.run.run_id)
        headers: dict[str, VideoHeader | MediaError] = {}
        with UnitWriter(self.run.masks_uri(unit.unit_id), receipt) as writer:
            for row in rows.to_pylist():
                try:
                    table = self._pair(row, found.get(PairKey.of(row)), headers, receipt)
                except MediaError as error:
                    table = error_row(row, error.status, outside_a_run(str(error)))
                writer.write(table)
            self.run.require_same()
            return writer.commit()

    def _pair(
        self, row: dict, found: pa.Table | None, headers: dict[str, VideoHeader | MediaError], receipt: Receipt
    ) -> pa.Table:
        """Return the rows of one pair. Raises MediaError if it has no masks, or not those of its frames."""
        if problem := next(row_problems(row), None):
            raise MediaError("bad_row", problem)
        if found is None:
            raise MediaError("missing", f"{self.source.uri} has no masks of this pair")
        try:
            pair = ImportedPair.of(PairKey.of(row), found)
        except MediaError as error:
            raise MediaError(error.status, f"in {self.source.uri}: {error}") from None
        uri = row["video_uri"]
        if uri not in headers:
            try:
                headers[uri] = probe(uri)
            except MediaError as error:
                headers[uri] = error
        header = headers[uri]
        if isinstance(header, MediaError):
            raise header
        _require_frames(row, header)
        masks = _by_index(pair.rows, row, header, in_order=self.source.is_json)
        wanted = _wanted(row, header, masks)
        absent = [index for index in wanted if index not in masks]
        if isinstance(self.source, TreeSource) and header.names is None:
            _require_places([one["frame_name"] for one in pair.rows], header.num_frames or row.get("num_frames"))
        others = sorted(masks.keys() - set(wanted), key=str)
        if not self.force:
            _require_unshifted(pair, masks, wanted, header)
            _require_named(pair, len(wanted), frame_names_at(absent, header), others)
        if absent and (self.missing == "error" or len(absent) == len(wanted)):
            name = frame_names_at(absent[:1], header)[0]
            text = f"{len(absent)} of {len(wanted)} frames have no mask in {self.source.uri}, the first is {name}"
            more = f"; {len(others)} other masks lie there, the first is {others[0]}" if others else ""
            advice = "" if len(absent) == len(wanted) else "; write an empty mask for each, or use --missing empty"
            raise MediaError("missing", f"{text}{more or advice}")
        self.filled += len(absent)
        if others:
            receipt.note_left_out([(NOT_REQUESTED, len(others), f"{pair.key} frame {others[0]}")])
        is_scored = any(mask["score"] is not None for mask in masks.values())
        filled = {"counts": None, "score": 0.0 if is_scored else None, "margin": None}
        places = zip(wanted, frame_names_at(wanted, header), strict=True)
        rows = [
            _row(masks.get(index, filled), index, name, header, self.source.is_json or index not in masks)
            for index, name in places
        ]
        is_seen = any(one["box"][2] for one in rows)
        if self.source.are_objects and self.missing == "error" and row["object_ids"] and not is_seen:
            ids = ", ".join(row["object_ids"][:3])
            raise MediaError("missing", f"no label map of its video shows its objects ({ids}); or use --missing empty")
        scores = [one["score"] for one in rows if one["score"] is not None]
        shared = {**pair.key._asdict(), "status": "ok", "chosen": True}
        shared["pair_score"] = sum(scores) / len(scores) if scores else None
        return pa.Table.from_pylist([one | shared for one in rows], schema=PREDICTIONS)


def _require_frames(row: dict, header: VideoHeader) -> None:
    """Raise MediaError if the video lacks a frame that its row lists, or has these frames in another order."""
    names = row.get("frames")
    listed = Selection(names and tuple(names), is_sequence=True)
    listed.resolve(row["video_uri"], header.num_frames, header.names)


def _by_index(rows: Sequence[dict], manifest_row: dict, header: VideoHeader, *, in_order: bool) -> dict[Any, dict]:
    """Return the masks by the position of their frame in the video; those of unknown frames by their name.

    Frames of a folder are found by name. Those of a video file are numbers.
    """
    positions = {name: index for index, name in enumerate(header.names or ())}
    listed = manifest_row.get("frame_indices")
    if manifest_row.get("frames"):
        listed = [positions[name] if header.names is not None else int(name) for name in manifest_row["frames"]]
    found: dict[Any, dict] = {}
    for row in rows:
        index, name = row["frame_index"], row["frame_name"]
        if name is None and in_order and listed:
            index = listed[index] if index < len(listed) else f"{index} in the list"
        elif name is not None and header.names is not None:
            index = positions.get(name, name)
        found[index] = row
    return found


def _require_places(names: Sequence[str], num_frames: int | None) -> None:
    """Raise MediaError if masks of a video file are named by no numbers, and are not as many as its frames.

    The first is taken for frame 0 then, the second for frame 1: with gaps, that would be wrong.
    """
    unnumbered = next((name for name in names if not is_number(name)), None)
    if unnumbered is not None and num_frames is not None and len(names) != num_frames:
        reason = f"{counted(len(names), 'mask')} with names such as {unnumbered}, and {counted(num_frames, 'frame')}"
        raise MediaError("bad_row", f"{reason}; name each mask by the number of its frame, counted from 0")


def _require_unshifted(pair: ImportedPair, masks: dict[Any, dict], wanted: Sequence[int], header: VideoHeader) -> None:
    """Raise ImplausibleError if the numbers of all masks differ by one value from those of the frames."""
    sides: list[tuple[Iterable, Iterable]] = [(wanted, masks), (range(header.num_frames or 0), masks)]
    if names := header.names:
        known = [names[key] if key in range(len(names)) else key for key in masks]
        sides += [([names[index] for index in wanted], known), (names, known)]
    for expected, found in sides:
        if shift := shift_of(expected, found):
            text = f"all frame numbers of its masks differ by {shift:+} from those of the video; renumber them"
            raise ImplausibleError(f"{pair.key}: {text}, or import them as they are with --force")


def _require_named(pair: ImportedPair, wanted: int, absent: Sequence[str], others: Sequence[Any]) -> None:
    """Raise ImplausibleError if most frames have no mask, and as many masks have other names than the frames."""
    if absent and are_renamed(wanted, len(absent), len(others)):
        text = (
            f"{len(absent)} of {wanted} frames have no mask, and {len(others)} masks are of no frame that is asked for"
        )
        sides = f"masks: {others[0]} ..., frames: {absent[0]} ..."
        raise ImplausibleError(
            f"{pair.key}: {text} ({sides}); name each mask as its frame, or import them as they are with --force"
        )


def _wanted(row: dict, header: VideoHeader, masks: dict[Any, dict]) -> list[int]:
    """Return the positions of the frames that a row of the manifest asks for, in order."""
    names, indices = row.get("target_frames") or row.get("frames"), row.get("frame_indices")
    if row.get("target_frames"):
        indices = None
    selection = Selection(tuple(names) if names else None, tuple(indices) if indices else None)
    found = selection.resolve(row["video_uri"], header.num_frames, header.names)
    if found is not None:
        return list(found)
    known = header.num_frames or row.get("num_frames")
    return list(range(known or 1 + max((index for index in masks if isinstance(index, int)), default=0)))


def _row(mask: dict, index: int, name: str, header: VideoHeader, null_is_empty: bool) -> dict:
    """Return the columns of one frame. Raises MediaError if its mask does not fit.

    null_is_empty: a row without size and mask is one of an empty mask.
    """
    height, width = header.height, header.width
    if null_is_empty and mask["counts"] is None:
        counts = rle.empty(height, width)
    else:
        require_mask(mask)
        if (mask["height"], mask["width"]) != (height, width):
            text = f"its mask is {mask['width']}x{mask['height']}, the video {width}x{height}; scale the masks"
            raise MediaError("bad_row", text, name)
        counts = mask["counts"]
    try:
        rle.check(counts, height, width)
    except rle.RleError as error:
        raise MediaError("corrupt", str(error), name) from None
    box: Any = coco.toBbox({"size": [height, width], "counts": counts})  # pyright: ignore[reportArgumentType]
    return {
        "frame_index": index,
        "frame_name": name,
        "height": height,
        "width": width,
        "counts": counts,
        "score": mask["score"],
        "box": box.tolist(),
        "margin": mask["margin"],
    }
