"""The pairs to score: those of the manifest, or without one, all that are annotated."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import InputError
from schemas.pair import PairKey

MaskKey = tuple[str, str]  # video_id, and expression_id or object_id

REQUESTED = pa.schema(  # the columns of a manifest that matter for scoring; `row` is the manifest row
    [
        pa.field("row", pa.int64()),
        pa.field("video_id", pa.string()),
        pa.field("expression_id", pa.string()),  # null: an object without an expression
        pa.field("object_ids", pa.list_(pa.string())),
        pa.field("frames", pa.list_(pa.string())),
        pa.field("frame_indices", pa.list_(pa.int32())),
        pa.field("target_frames", pa.list_(pa.string())),
        pa.field("annotator", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class RequestedFrames:
    """The frames of its video that a pair lists; None: all."""

    names: frozenset[str] | None = None
    indices: frozenset[int] | None = None
    targets: frozenset[str] | None = None
    step: int = 1

    def includes(self, index: int, name: str | None) -> bool:
        """Return whether a frame is listed. Lists of names do not exclude a frame without a name."""
        if self.indices is not None and index not in self.indices:
            return False
        if self.names is None and self.indices is None and index % self.step:
            return False
        return name is None or all(names is None or name in names for names in (self.names, self.targets))


@dataclass(frozen=True, slots=True)
class RequestedPair:
    """One pair to score: the union of its annotations. Without `annotation_keys` it has no target."""

    row: int
    video_id: str
    expression_id: str | None  # None: an object without an expression
    object_id: str | None  # if it is exactly one
    annotation_keys: tuple[str, ...]  # object or expression ids
    object_ids: tuple[str, ...]  # of its target, which label maps show
    annotator: str | None
    frames: RequestedFrames
    says_no_target: bool = False  # its object_ids are an empty list
    is_gap: bool = False  # its object is in no annotated frame, and counts all the same

    @classmethod
    def of_gap(
        cls, row: int, video: str, object_id: str, annotator: str | None, frames: RequestedFrames, *, by_object: bool
    ) -> "RequestedPair":
        """Return the pair of an absent object that none asks for; only with pairs by object it can be predicted."""
        expression_id = None if by_object else f"object {object_id}"
        objects = (object_id,)
        return cls(row, video, expression_id, object_id, objects, objects, annotator, frames, is_gap=True)

    @property
    def key(self) -> MaskKey:
        """The key of its predictions."""
        return self.video_id, self.expression_id if self.expression_id is not None else self.object_id or ""

    def message(self, error: object) -> str:
        """An error text that names the pair."""
        if self.expression_id is None:
            return f"video_id={self.video_id} object_id={self.object_id}: {error}"
        return f"{PairKey(self.video_id, self.expression_id)}: {error}"


def pairs_from_manifest(
    manifest: pa.Table,
    annotated: Mapping[str, frozenset[str]],
    annotation_key: str,
    predictions_are_objects: bool = False,
) -> pa.Table:
    """Return REQUESTED with one row for each manifest row. `annotated`: `Annotations.keys_by_video`.

    Raises InputError if annotations or predictions are by object and a pair of an annotated video has no object_ids.
    """
    stored = {name: manifest[name] for name in REQUESTED.names if name in manifest.column_names}
    stored["row"] = pa.array(range(len(manifest)))
    columns = [
        stored[field.name].cast(field.type) if field.name in stored else pa.nulls(len(manifest), field.type)
        for field in REQUESTED
    ]
    requested = pa.table(columns, schema=REQUESTED)
    if annotation_key == "object_id" or predictions_are_objects:
        without_objects = requested.filter(pc.is_null(requested["object_ids"]))
        side = "annotations are by object" if annotation_key == "object_id" else "predictions are label maps of objects"
        for row in without_objects.select(["video_id", "expression_id"]).to_pylist():
            if row["video_id"] in annotated:
                text = f"object_ids is null, but the {side}; add object_ids to the manifest"
                raise InputError(f"{PairKey.of(row)}: {text}")
    return requested


def pairs_from_annotations(
    annotated: Mapping[str, frozenset[str]], annotation_key: str, predictions_are_objects: bool
) -> pa.Table:
    """Return REQUESTED with one row for each annotated expression, or, for label maps, each annotated object.

    Rows are sorted by video, then id. Raises InputError if one side is by object and the other by expression.
    """
    if predictions_are_objects != (annotation_key == "object_id"):
        text = (
            "label maps show objects, but the annotations are by expression"
            if predictions_are_objects
            else "the annotations are by object, but the predictions by expression"
        )
        raise InputError(f"{text}; give a manifest with object_ids by --manifest")
    rows = []
    for video in sorted(annotated):
        for key in sorted(annotated[video]):
            ids = {"object_ids": [key]} if predictions_are_objects else {"expression_id": key}
            rows.append({"row": len(rows), "video_id": video, **ids})
    return pa.Table.from_pylist(rows, schema=REQUESTED)


def objects_of_videos(manifest: pa.Table | None) -> dict[str, frozenset[str]]:
    """Return the objects of each video that its rows of a manifest name."""
    objects: dict[str, set[str]] = {}
    if manifest is not None and "object_ids" in manifest.column_names:
        for row in manifest.select(["video_id", "object_ids"]).to_pylist():
            objects.setdefault(row["video_id"], set()).update(row["object_ids"] or ())
    return {video: frozenset(ids) for video, ids in objects.items()}


def requested_pairs(requested: pa.Table, annotation_key: str, frame_step: int) -> list[RequestedPair]:
    """Convert the rows of REQUESTED, in their order."""
    pairs = []
    for row in requested.select(REQUESTED.names).to_pylist():
        objects = row["object_ids"] or []
        columns = {"names": "frames", "indices": "frame_indices", "targets": "target_frames"}
        listed = {name: frozenset(row[column]) for name, column in columns.items() if row[column] is not None}
        pair = RequestedPair(
            row=row["row"],
            video_id=row["video_id"],
            expression_id=row["expression_id"],
            object_id=objects[0] if len(objects) == 1 else None,
            annotation_keys=(row["expression_id"],) if annotation_key == "expression_id" else tuple(objects),
            object_ids=tuple(objects),
            annotator=row["annotator"],
            frames=RequestedFrames(step=frame_step, **listed),
            says_no_target=row["object_ids"] == [],
        )
        pairs.append(pair)
    return pairs
