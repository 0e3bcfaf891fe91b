"""Trees of PNG masks, the form in which results are exchanged: label maps, or one folder for each expression."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.io import storage
from pipeline.masks.label_maps import VOID_ID, MaskRows, read_mask
from pipeline.masks.pairs_to_score import MaskKey, RequestedPair
from schemas import rle
from schemas.errors import InputError, MediaError
from schemas.masks import PREDICTIONS, VOID


class PngFrame(NamedTuple):
    """One PNG of a video. `index`: its stem if the stems of the folder are numbers, else its position."""

    index: int
    name: str  # the stem
    uri: str

    def read(self) -> np.ndarray:
        """Return its values, uint8 [H, W]. Raises InputError if it cannot be read."""
        try:
            return read_mask(self.uri)
        except MediaError as error:
            raise InputError(str(error)) from None

    def row(self, video: str, thing: str, mask: np.ndarray) -> dict:
        """A row of PREDICTIONS for a mask, bool [H, W]."""
        size = {"height": mask.shape[0], "width": mask.shape[1], "counts": rle.encode(mask[None])[0]}
        return {"video_id": video, "expression_id": thing, "frame_index": self.index, "frame_name": self.name} | size


@dataclass(frozen=True, slots=True)
class PngTree:
    """`<video>/<frame>.png` with object ids as values (DAVIS), or `<video>/<expression>/<frame>.png` with foreground
    wherever it is not 0 (submissions to Ref-YouTube-VOS and MeViS). Either may be in a folder `Annotations`."""

    folder: str
    are_objects: bool
    videos: dict[str, tuple[str, ...]]  # with the expressions of each; none in label maps

    @classmethod
    def find(cls, folder: str) -> "PngTree | None":
        """Return the tree in `folder`, if it holds one. Raises InputError if it mixes both forms."""
        if "Annotations" in storage.names(folder):
            folder = storage.join(folder, "Annotations")

        def has_images(uri: str) -> bool:
            return storage.is_folder(uri) and any(name.endswith(".png") for name in storage.names(uri))

        label_maps, by_expression = {}, {}
        for video in storage.names(folder):
            uri = storage.join(folder, video)
            if has_images(uri):
                label_maps[video] = ()
            elif storage.is_folder(uri):
                expressions = tuple(name for name in storage.names(uri) if has_images(storage.join(uri, name)))
                if expressions:
                    by_expression[video] = expressions
        if label_maps and by_expression:
            forms = "<video>/<frame>.png and <video>/<expression>/<frame>.png"
            raise InputError(f"{folder} mixes {forms}; separate the two forms")
        return cls(folder, bool(label_maps), label_maps or by_expression) if label_maps or by_expression else None

    def keys(self) -> list[MaskKey]:
        """The pairs of a tree by expression."""
        return [(video, expression) for video in sorted(self.videos) for expression in self.videos[video]]

    def has(self, key: MaskKey) -> bool:
        """Return whether the tree has images for a pair."""
        return key[0] in self.videos and (self.are_objects or key[1] in self.videos[key[0]])

    def predictions(self, video: str, pairs: Sequence[RequestedPair], all_labels: bool) -> pa.Table:
        """Return PREDICTIONS of the `pairs` of one video; of label maps with `all_labels`, of each label."""
        if not self.are_objects:
            rows = [row for pair in pairs for row in self._expression_rows(*pair.key)]
        elif all_labels:
            rows = []
            for frame in self._frames(video):
                labels = frame.read()
                values = np.setdiff1d(labels, [0, VOID_ID]).tolist()
                rows += [frame.row(video, str(value), labels == value) for value in values]
        else:
            rows = list(self._union_rows(video, pairs))
        return pa.Table.from_pylist(rows, schema=PREDICTIONS)

    def annotations(self) -> tuple[pa.Table, pa.Table | None]:
        """Return all masks as annotations, and the void pixels of label maps."""
        if not self.are_objects:
            rows = [row for key in self.keys() for row in self._expression_rows(*key)]
            names = ["video_id", "expression_id", *VOID.names[1:]]
            return pa.Table.from_pylist(rows, schema=pa.schema([PREDICTIONS.field(name) for name in names])), None
        videos = []
        for video in sorted(self.videos):
            videos.append(MaskRows(video, ()))
            for frame in self._frames(video):
                videos[-1].add(frame.index, frame.name, frame.read())
        void = pa.concat_tables([rows.void() for rows in videos])
        return pa.concat_tables([rows.annotations() for rows in videos]), void if len(void) else None

    def _frames(self, *folders: str) -> list[PngFrame]:
        folder = storage.join(self.folder, *folders)
        stems = [name[: -len(".png")] for name in storage.names(folder) if name.endswith(".png")]
        numbered = all(stem.isascii() and stem.isdigit() and len(stem) < 10 for stem in stems)
        return sorted(
            PngFrame(int(stem) if numbered else position, stem, storage.join(folder, f"{stem}.png"))
            for position, stem in enumerate(stems)
        )

    def _expression_rows(self, video: str, expression: str) -> Iterator[dict]:
        for frame in self._frames(video, expression):
            yield frame.row(video, expression, frame.read() != 0)

    def _union_rows(self, video: str, pairs: Sequence[RequestedPair]) -> Iterator[dict]:
        """One row for each frame and pair: the union of the pair's objects in the label map."""
        labels_of: dict[tuple[str, ...], list[int]] = {}
        for pair in pairs:
            try:
                labels_of[pair.annotation_keys] = [int(thing) for thing in pair.annotation_keys]
            except ValueError:
                text = f"object_ids {list(pair.annotation_keys)} must be numbers to be looked up in label maps"
                raise InputError(pair.message(text)) from None
        for frame in self._frames(video):
            labels = frame.read()
            rows = {}  # pairs with the same objects share a mask
            for pair in pairs:
                if pair.annotation_keys not in rows:
                    mask = np.isin(labels, labels_of[pair.annotation_keys])
                    rows[pair.annotation_keys] = frame.row(video, "", mask)
                yield rows[pair.annotation_keys] | {"expression_id": pair.key[1]}
