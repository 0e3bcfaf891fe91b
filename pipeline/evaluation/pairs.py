"""What is to be scored: pairs of the manifest, or without one, whatever is annotated."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from pipeline.evaluation.truth import Truth
from schemas.errors import InputError, pair_message


@dataclass(frozen=True, slots=True)
class Asked:
    """Which frames of its video a pair was asked for; None: all."""

    names: frozenset[str] | None = None
    indices: frozenset[int] | None = None
    targets: frozenset[str] | None = None
    step: int = 1

    def takes(self, index: int, name: str | None) -> bool:
        """Whether the frame is one of them. A frame without a name is not told apart by names."""
        if self.indices is not None and index not in self.indices:
            return False
        if self.names is None and self.indices is None and index % self.step:
            return False
        return name is None or all(names is None or name in names for names in (self.names, self.targets))


@dataclass(frozen=True, slots=True)
class Pair:
    """One track to score. `truth` are the keys of its annotations, whose union it is; empty: it has no target."""

    video_id: str
    expression_id: str | None  # None: an object by itself, without an expression
    object_id: str | None  # if it is exactly one
    truth: tuple[str, ...]
    asked: Asked

    @property
    def key(self) -> tuple[str, str]:
        """By what its predictions are found."""
        return self.video_id, self.expression_id if self.expression_id is not None else self.object_id or ""

    def message(self, error: object) -> str:
        """An error text that names the pair."""
        if self.expression_id is None:
            return f"video_id={self.video_id} object_id={self.object_id}: {error}"
        return pair_message(self.video_id, self.expression_id, error)

    def is_annotated(self, truth: Truth) -> bool:
        """Whether there can be anything to score it by."""
        annotated = truth.tracks.get(self.video_id, frozenset())
        return bool(annotated) if not self.truth else bool(annotated & set(self.truth))


def pairs_of_manifest(manifest: pa.Table, truth: Truth, frame_step: int) -> list[Pair]:
    """One pair for each manifest row, in its order.

    Raises InputError if annotations are by object and a row of an annotated video does not say which it means.
    """
    wanted = ("video_id", "expression_id", "object_ids", "frames", "frame_indices", "target_frames")
    columns = [name for name in wanted if name in manifest.column_names]
    pairs = []
    for batch in manifest.select(columns).to_batches(max_chunksize=10_000):
        pairs += [_pair(row, truth, frame_step) for row in batch.to_pylist()]
    return pairs


def pairs_of_truth(truth: Truth, predictions_are_objects: bool) -> list[Pair]:
    """One pair for each annotated expression, or, for label maps, each annotated object; by video, then id.

    Raises InputError if annotations and predictions are not of the same kind.
    """
    if predictions_are_objects != (truth.key == "object_id"):
        text = (
            "label maps show objects, but the annotations are by expression"
            if predictions_are_objects
            else "the annotations are by object and the predictions by expression"
        )
        raise InputError(f"{text}; --manifest, with object_ids, must say which objects each expression means")
    found = []
    for video in sorted(truth.tracks):
        for key in sorted(truth.tracks[video]):
            expression, thing = (None, key) if predictions_are_objects else (key, None)
            found.append(Pair(video, expression, thing, (key,), Asked()))
    return found


def _pair(row: Mapping, truth: Truth, frame_step: int) -> Pair:
    objects = row.get("object_ids")
    keys = [row["expression_id"]] if truth.key == "expression_id" else objects
    if keys is None:
        if row["video_id"] in truth.tracks:
            text = "the annotations are by object, and its manifest row has no object_ids; add them to the manifest"
            raise InputError(pair_message(row["video_id"], row["expression_id"], text))
        keys = []
    return Pair(
        row["video_id"],
        row["expression_id"],
        objects[0] if objects and len(objects) == 1 else None,
        tuple(keys),
        Asked(
            names=_set(row.get("frames")),
            indices=_set(row.get("frame_indices")),
            targets=_set(row.get("target_frames")),
            step=frame_step,
        ),
    )


def _set(values: list | None) -> frozenset | None:
    return None if values is None else frozenset(values)
