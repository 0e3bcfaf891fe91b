"""Trees of PNG masks, the form in which the field exchanges results: label maps, or a folder for each expression."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.io import storage
from pipeline.masks.label_maps import VOID_ID, MaskRows, read_mask
from pipeline.masks.requested import MaskKey, RequestedPair
from schemas import rle
from schemas.errors import InputError, MediaError
from schemas.masks import PREDICTIONS, VOID


class Image(NamedTuple):
    """One PNG of a video: the stem of its name, and its frame index: the name if all are numbers, else its place."""

    index: int
    name: str
    uri: str


@dataclass(frozen=True, slots=True)
class Tree:
    """`<video>/<frame>.png`, values being object ids (DAVIS), or `<video>/<expression>/<frame>.png`, any value but 0
    being foreground (submissions to Ref-YouTube-VOS and MeViS). Either may lie in a folder `Annotations`."""

    folder: str
    are_objects: bool
    videos: dict[str, tuple[str, ...]]  # with the expressions of each; none in label maps

    @classmethod
    def find(cls, folder: str) -> "Tree | None":
        """The tree in `folder`, if there is one."""
        names = storage.names(folder)
        if "Annotations" in names:
            folder = storage.join(folder, "Annotations")
            names = storage.names(folder)
        videos: dict[str, tuple[str, ...]] = {}
        kinds = set()
        for name in names:
            inside = _names(storage.join(folder, name))
            if _has_images(inside):
                kinds.add("labels")
                videos[name] = ()
            else:
                below = tuple(one for one in inside if _has_images(_names(storage.join(folder, name, one))))
                if below:
                    kinds.add("expressions")
                    videos[name] = below
        if len(kinds) > 1:
            raise InputError(
                f"{folder} mixes <video>/<frame>.png and <video>/<expression>/<frame>.png; give one of them"
            )
        return cls(folder, "labels" in kinds, videos) if videos else None

    def holds(self, key: MaskKey) -> bool:
        """Whether there are images for a pair."""
        video, thing = key
        return video in self.videos and (self.are_objects or thing in self.videos[video])

    def predictions(self, video: str, pairs: Sequence[RequestedPair], proposals: bool) -> pa.Table:
        """PREDICTIONS of the `pairs` of one video; of label maps with `proposals`: of every label, as expression."""
        rows: list[dict] = []
        if self.are_objects:
            for image in self._images(video):
                rows += _label_rows(video, image, None if proposals else pairs)
        else:
            for pair in pairs:
                rows += self._expression_rows(*pair.key)
        return pa.Table.from_pylist(rows, schema=PREDICTIONS)

    def annotations(self) -> tuple[pa.Table, pa.Table | None]:
        """All masks as annotations, and the void pixels of label maps."""
        if self.are_objects:
            videos = []
            for video in sorted(self.videos):
                videos.append(MaskRows(video, ()))
                for image in self._images(video):
                    videos[-1].add(image.index, image.name, _read(image.uri))
            void = pa.concat_tables([pa.table(one.void()) for one in videos])
            return pa.concat_tables([one.annotations() for one in videos]), void if len(void) else None
        keys = [(video, expression) for video in sorted(self.videos) for expression in self.videos[video]]
        rows = [row for key in keys for row in self._expression_rows(*key)]
        names = ["video_id", "expression_id", *VOID.names[1:]]
        return pa.Table.from_pylist(rows, schema=pa.schema([PREDICTIONS.field(name) for name in names])), None

    def _images(self, *names: str) -> list[Image]:
        folder = storage.join(self.folder, *names)
        stems = [name[: -len(".png")] for name in storage.names(folder) if name.endswith(".png")]
        numbered = all(stem.isascii() and stem.isdigit() and len(stem) < 10 for stem in stems)
        images = [
            Image(int(stem) if numbered else place, stem, storage.join(folder, f"{stem}.png"))
            for place, stem in enumerate(stems)
        ]
        return sorted(images)

    def _expression_rows(self, video: str, expression: str) -> Iterator[dict]:
        for image in self._images(video, expression):
            mask = _read(image.uri) != 0
            yield _row(video, expression, image, mask.shape, rle.encode(mask[None])[0])


def _label_rows(video: str, image: Image, pairs: Sequence[RequestedPair] | None) -> Iterator[dict]:
    """One row for each pair, the union of its objects in this label map; without pairs, one for each label."""
    labels = _read(image.uri)
    if pairs is None:
        for label in np.setdiff1d(labels, [0, VOID_ID]).tolist():
            yield _row(video, str(label), image, labels.shape, rle.encode((labels == label)[None])[0])
        return
    strings: dict[tuple[str, ...], bytes] = {}  # expressions of one object share its mask
    for pair in pairs:
        if pair.annotation_keys not in strings:
            strings[pair.annotation_keys] = rle.encode(np.isin(labels, _label_values(pair))[None])[0]
        yield _row(video, pair.key[1], image, labels.shape, strings[pair.annotation_keys])


def _row(video: str, thing: str, image: Image, shape: tuple[int, ...], counts: bytes) -> dict:
    place = {"frame_index": image.index, "frame_name": image.name, "height": shape[0], "width": shape[1]}
    return {"video_id": video, "expression_id": thing, **place, "counts": counts}


def _label_values(pair: RequestedPair) -> list[int]:
    try:
        return [int(thing) for thing in pair.annotation_keys]
    except ValueError:
        text = f"object_ids {list(pair.annotation_keys)} are no numbers, so they cannot be found in label maps"
        raise InputError(pair.message(text)) from None


def _read(uri: str) -> np.ndarray:
    try:
        return read_mask(uri)
    except MediaError as error:
        raise InputError(str(error)) from None


def _names(folder: str) -> list[str]:
    return storage.names(folder) if storage.is_folder(folder) else []


def _has_images(names: Sequence[str]) -> bool:
    return any(name.endswith(".png") for name in names)
