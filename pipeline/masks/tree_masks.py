"""The masks of a tree of PNGs, in memory as RLE: predictions or annotations."""

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from pycocotools import mask as coco

from pipeline.masks.mask_values import LUMA_IDS, VOID_ID, MaskMeaning, meaning_of_binary, meaning_of_labels
from pipeline.masks.pairs_to_score import MaskKey, RequestedPair
from pipeline.masks.png_trees import PngReading, PngTree, TreeFrame
from pipeline.masks.row_groups import RowGroup
from schemas import rle
from schemas.errors import ImplausibleError
from schemas.masks import ANNOTATIONS, PREDICTIONS, VOID

ONLY_OBJECT = "1"  # id of the object of a tree that shows one, where nothing else names it
BY_EXPRESSION = pa.schema([PREDICTIONS.field(name) for name in ("video_id", "expression_id", *VOID.names[1:])])


@dataclass(frozen=True, slots=True)
class TreeMasks:
    """Every PNG of a tree, by video, or by video and expression, in order of frames; and what its values mean."""

    folder: str
    are_objects: bool
    frames: Mapping[tuple[str, ...], Sequence[TreeFrame]]
    meaning: MaskMeaning
    only_objects: Mapping[str, str] = field(default_factory=dict)  # id by video, where the maps show one object
    size = 0  # in bytes: nothing that a worker would read

    @classmethod
    def read(cls, tree: PngTree, reading: PngReading) -> "TreeMasks":
        """Read all PNGs. Raises InputError if one cannot be read."""
        frames: dict[tuple[str, ...], list[TreeFrame]] = {}
        for path, frame in tree.read(reading):
            frames.setdefault(path, []).append(frame)
        return cls.of(tree.folder, tree.are_objects, frames)

    @classmethod
    def of(cls, folder: str, are_objects: bool, frames: Mapping[tuple[str, ...], Sequence[TreeFrame]]) -> "TreeMasks":
        """Find out what the values of these frames mean."""
        pixels: Counter[int] = Counter()
        for frame in itertools.chain.from_iterable(frames.values()):
            pixels.update(frame.pixels)
        formats = {frame.pixel_format for of_path in frames.values() for frame in of_path}
        meaning = (meaning_of_labels if are_objects else meaning_of_binary)(pixels, formats)
        return cls(folder, are_objects, frames, meaning)

    def keys_by_video(self) -> dict[str, frozenset[str]]:
        """Return the objects or expressions of each video."""
        keys: dict[str, set[str]] = {}
        for (video, *expression), frames in self.frames.items():
            of_video = keys.setdefault(video, set())
            of_video.update(expression or (key for frame in frames for key in self._masks(video, frame)))
        return {video: frozenset(of_video) for video, of_video in keys.items()}

    def with_objects(self, annotated: Mapping[str, frozenset[str]]) -> "TreeMasks":
        """Return predicted label maps whose values are object ids: if none is, look for another meaning.

        A single value is the object of videos that have one. Gray of the DAVIS palette is its index. Raises
        ImplausibleError with an example of both sides if neither helps.
        """
        found = self.keys_by_video()
        shared = [video for video in sorted(found) if found[video] and annotated.get(video)]
        ids = self.meaning.ids
        if not shared or (ids is not None and any(found[video] & annotated[video] for video in shared)):
            return self
        if all(len(annotated[video]) == 1 for video in shared) and (ids is None or len(ids) == 1):
            only = {video: next(iter(annotated[video])) for video in shared}
            meaning = (
                self.meaning if ids is None else self.meaning.reread(None, "taken as the one object of each video")
            )
            return replace(self, meaning=meaning, only_objects=only)
        if ids is not None and ids.keys() <= LUMA_IDS.keys():
            by_luma = {value: str(LUMA_IDS[value]) for value in ids}
            reread = replace(self, meaning=self.meaning.reread(by_luma, "gray of the DAVIS palette, read as its ids"))
            if any(keys & annotated.get(video, frozenset()) for video, keys in reread.keys_by_video().items()):
                return reread
        if ids is None:
            video = next(video for video in shared if len(annotated[video]) > 1)
            text = f"the masks show one object, but {video} has several ({shorten_list(annotated[video])})"
        else:
            video = shared[0]
            sides = f"in {video}: {shorten_list(found[video])}; its objects: {shorten_list(annotated[video])}"
            text = f"no label of the masks is an object ({sides})"
        raise ImplausibleError(f"{self.folder}: {text}. Found {self.meaning.text}")

    def row_groups(self, requested: Collection[MaskKey] = ()) -> Iterator[tuple[RowGroup, list[MaskKey]]]:
        """Yield each video with its pairs; of label maps, those of `requested`."""
        keys: dict[str, list[MaskKey]] = {path[0]: [] for path in self.frames}
        rows: Counter[str] = Counter()
        for (video, *expression), frames in self.frames.items():
            rows[video] += len(frames)
            if expression:
                keys[video].append((video, expression[0]))
        for key in requested if self.are_objects else ():
            if key[0] in keys:
                keys[key[0]].append(key)
        for video in sorted(keys):
            if keys[video]:
                yield RowGroup(video, 0, rows[video]), keys[video]

    def read_rows(
        self, row_groups: Iterable[RowGroup], pairs: Sequence[RequestedPair], *, all_labels: bool = False
    ) -> pa.Table:
        """Return PREDICTIONS of `pairs`; of label maps with `all_labels`, of each label as if it were an expression."""
        rows: list[dict] = []
        for video, *_ in row_groups:
            of_video = [pair for pair in pairs if pair.video_id == video]
            if not self.are_objects:
                keys = [pair.key for pair in of_video if pair.key in self.frames]
                rows += [row for key in keys for row in self._rows(key, key, None)]
                continue
            names = {pair.key[1]: pair.annotation_keys for pair in of_video}
            if all_labels:
                names |= {label: (label,) for frame in self.frames[(video,)] for label in self._masks(video, frame)}
            rows += [row for name, objects in names.items() for row in self._rows((video,), (video, name), objects)]
        return pa.Table.from_pylist(rows, schema=PREDICTIONS)

    def annotations(self, objects: Collection[str] = ()) -> tuple[pa.Table, pa.Table | None]:
        """Return all masks as annotations, and the void pixels of label maps. `objects` have rows in any case."""
        if not self.are_objects:
            rows = [row for key in sorted(self.frames) for row in self._rows(key, (key[0], key[1]), None)]
            return pa.Table.from_pylist(rows, schema=BY_EXPRESSION), None
        keys, rows, void = self.keys_by_video(), [], []
        for (video,), frames in self.frames.items():
            masks = [self._masks(video, frame) for frame in frames]
            for object_id in sorted({*keys[video], *objects}, key=lambda object_id: (len(object_id), object_id)):
                rows += [
                    {"video_id": video, "object_id": object_id, **size_of(frame), "counts": of_frame.get(object_id)}
                    for frame, of_frame in zip(frames, masks, strict=True)
                ]
            if self.meaning.void:
                of_frames = ((frame, frame.strings.get(VOID_ID)) for frame in frames)
                void += [{"video_id": video, **size_of(frame), "counts": mask} for frame, mask in of_frames if mask]
        table = pa.Table.from_pylist(rows, schema=ANNOTATIONS)
        return table, pa.Table.from_pylist(void, schema=VOID) if void else None

    def binary_masks(self, path: tuple[str, ...]) -> Iterator[tuple[TreeFrame, bytes | None]]:
        """Yield the frames of one object with its RLE, None where it is absent."""
        for frame in self.frames.get(path, ()):
            yield frame, self._foreground(frame)

    def _rows(self, path: tuple[str, ...], key: MaskKey, objects: Collection[str] | None) -> Iterator[dict]:
        """Yield a row of PREDICTIONS for each frame: the union of some objects, or the mask of an expression."""
        for frame in self.frames[path]:
            if objects is None:
                found = [self._foreground(frame)]
            else:
                masks = self._masks(key[0], frame)
                found = [masks.get(object_id) for object_id in objects]
            counts = _union([counts for counts in found if counts], frame)
            yield {"video_id": key[0], "expression_id": key[1], **size_of(frame), "counts": counts}

    def _masks(self, video: str, frame: TreeFrame) -> dict[str, bytes]:
        """Return the RLE of each object that a label map shows."""
        ids = self.meaning.ids
        if ids is not None:
            return {ids[value]: counts for value, counts in frame.strings.items() if value in ids}
        counts = self._foreground(frame)
        return {self.only_objects.get(video, ONLY_OBJECT): counts} if counts else {}

    def _foreground(self, frame: TreeFrame) -> bytes | None:
        """Return the RLE of the one object that a frame shows; None if it shows none."""
        least, strings = self.meaning.threshold, frame.strings
        if least is None:
            void = VOID_ID if self.meaning.void else None
            return next((mask for value, mask in strings.items() if value != void), None)
        if frame.half is not None:
            return frame.half
        return next(iter(strings.values())) if frame.pixels and max(frame.pixels) >= least else None


def size_of(frame: TreeFrame) -> dict:
    """Return the columns of a frame."""
    return {"frame_index": frame.index, "frame_name": frame.name, "height": frame.height, "width": frame.width}


def shorten_list(ids: Iterable[str]) -> str:
    """Return the first few of some ids, as text."""
    in_order = sorted(ids, key=lambda one: (len(one), one))
    return ", ".join(in_order[:5]) + (" ..." if len(in_order) > 5 else "")


def _union(masks: Sequence[bytes], frame: TreeFrame) -> bytes:
    """Return the union of masks; an empty mask without any."""
    if len(masks) < 2:
        return masks[0] if masks else rle.empty(frame.height, frame.width)
    merged: Any = coco.merge([{"size": [frame.height, frame.width], "counts": mask} for mask in masks])
    return merged["counts"]
