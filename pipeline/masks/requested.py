"""What is to be scored: pairs of the manifest, or without one, whatever is annotated."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import InputError, pair_message

MaskKey = tuple[str, str]  # video_id, and expression_id or object_id

REQUESTED = pa.schema(  # columns of a manifest that say what to score; `row` is the place in the manifest
    [
        pa.field("row", pa.int64()),
        pa.field("video_id", pa.string()),
        pa.field("expression_id", pa.string()),  # null: an object by itself
        pa.field("object_ids", pa.list_(pa.string())),
        pa.field("frames", pa.list_(pa.string())),
        pa.field("frame_indices", pa.list_(pa.int32())),
        pa.field("target_frames", pa.list_(pa.string())),
        pa.field("annotator", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class RequestedFrames:
    """Which frames of its video a pair was asked for; None: all."""

    names: frozenset[str] | None = None
    indices: frozenset[int] | None = None
    targets: frozenset[str] | None = None
    step: int = 1

    @property
    def everything(self) -> bool:
        """Whether it is every frame."""
        return self.names is None and self.indices is None and self.targets is None and self.step == 1

    def includes(self, index: int, name: str | None) -> bool:
        """Whether the frame is one of them. A frame without a name is not told apart by names."""
        if self.indices is not None and index not in self.indices:
            return False
        if self.names is None and self.indices is None and index % self.step:
            return False
        return name is None or all(names is None or name in names for names in (self.names, self.targets))


@dataclass(frozen=True, slots=True)
class RequestedPair:
    """One track to score. `truth` are the keys of its annotations, whose union it is; empty: it has no target."""

    row: int
    video_id: str
    expression_id: str | None  # None: an object by itself, without an expression
    object_id: str | None  # if it is exactly one
    annotation_keys: tuple[str, ...]
    annotator: str | None
    frames: RequestedFrames

    @property
    def key(self) -> MaskKey:
        """By what its predictions are found."""
        return self.video_id, self.expression_id if self.expression_id is not None else self.object_id or ""

    def message(self, error: object) -> str:
        """An error text that names the pair."""
        if self.expression_id is None:
            return f"video_id={self.video_id} object_id={self.object_id}: {error}"
        return pair_message(self.video_id, self.expression_id, error)


def pairs_from_manifest(manifest: pa.Table, tracks: Mapping[str, frozenset[str]], truth_key: str) -> pa.Table:
    """REQUESTED: one row for each manifest row.

    Raises InputError if annotations are by object and a row of an annotated video does not say which it means.
    """
    columns = [manifest[field.name] if field.name in manifest.column_names else None for field in REQUESTED]
    columns[0] = pa.array(range(len(manifest)))
    arrays = [
        pa.nulls(len(manifest), field.type) if column is None else column.cast(field.type)
        for column, field in zip(columns, REQUESTED, strict=True)
    ]
    asked = pa.table(arrays, schema=REQUESTED)
    if truth_key == "object_id":
        silent = asked.filter(pc.is_null(asked["object_ids"])).select(["video_id", "expression_id"])
        for row in silent.to_pylist():
            if row["video_id"] in tracks:
                text = "the annotations are by object, and its manifest row has no object_ids; add them to the manifest"
                raise InputError(pair_message(row["video_id"], row["expression_id"], text))
    return asked


def pairs_from_annotations(
    tracks: Mapping[str, frozenset[str]], truth_key: str, predictions_are_objects: bool
) -> pa.Table:
    """REQUESTED: one row for each annotated expression, or, for label maps, each annotated object; by video, then id.

    Raises InputError if annotations and predictions are not of the same kind.
    """
    if predictions_are_objects != (truth_key == "object_id"):
        text = (
            "label maps show objects, but the annotations are by expression"
            if predictions_are_objects
            else "the annotations are by object and the predictions by expression"
        )
        raise InputError(f"{text}; --manifest, with object_ids, must say which objects each expression means")
    rows = []
    for video in sorted(tracks):
        for key in sorted(tracks[video]):
            of = {"object_ids": [key]} if predictions_are_objects else {"expression_id": key}
            rows.append({"row": len(rows), "video_id": video, **of})
    return pa.Table.from_pylist(rows, schema=REQUESTED)


def requested_pairs(asked: pa.Table, truth_key: str, frame_step: int) -> list[RequestedPair]:
    """The rows of REQUESTED, in their order."""
    return [_pair(row, truth_key, frame_step) for row in asked.select(REQUESTED.names).to_pylist()]


def _pair(row: Mapping, truth_key: str, frame_step: int) -> RequestedPair:
    objects = row["object_ids"]
    truth = [row["expression_id"]] if truth_key == "expression_id" else objects or []
    return RequestedPair(
        row["row"],
        row["video_id"],
        row["expression_id"],
        objects[0] if objects and len(objects) == 1 else None,
        tuple(truth),
        row["annotator"],
        RequestedFrames(
            names=_set(row["frames"]),
            indices=_set(row["frame_indices"]),
            targets=_set(row["target_frames"]),
            step=frame_step,
        ),
    )


def _set(values: list | None) -> frozenset | None:
    return None if values is None else frozenset(values)
