"""Trees of PNG masks, the form in which results are exchanged: label maps, or one folder for each expression."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.io import storage
from pipeline.masks.label_maps import VOID_ID, MaskRows, read_mask
from pipeline.masks.pairs_to_score import MaskKey, RequestedPair
from pipeline.masks.row_groups import RowGroup
from schemas import rle
from schemas.errors import InputError, MediaError
from schemas.masks import PREDICTIONS, VOID


class PngFrame(NamedTuple):
    """One PNG of a video. `index`: its stem if the stems of the folder are numbers, else its position."""

    index: int
    name: str  # the stem
    labels: np.ndarray  # uint8 [H, W]

    def row(self, video: str, expression: str, mask: np.ndarray) -> dict:
        """Return a row of PREDICTIONS for a mask, bool [H, W]."""
        size = {"height": mask.shape[0], "width": mask.shape[1], "counts": rle.encode(mask[None])[0]}
        ids = {"video_id": video, "expression_id": expression}
        return ids | {"frame_index": self.index, "frame_name": self.name} | size


@dataclass(frozen=True, slots=True)
class PngTree:
    """`<video>/<frame>.png` with object ids as values (DAVIS), or `<video>/<expression>/<frame>.png` with foreground
    wherever it is not 0 (submissions to Ref-YouTube-VOS and MeViS). Either may be in a folder `Annotations`.

    Label maps show objects, so any expression may refer to them.
    """

    folder: str
    are_objects: bool
    videos: dict[str, tuple[str, ...]]  # with the expressions of each; none in label maps
    size = 0  # in bytes: unknown; such trees are small

    @classmethod
    def find(cls, folder: str) -> "PngTree | None":
        """Return the tree in `folder`, if it holds one. Raises InputError if it mixes both forms."""
        if "Annotations" in storage.names(folder):
            folder = storage.join(folder, "Annotations")
        label_maps, by_expression = {}, {}
        for video in storage.names(folder):
            uri = storage.join(folder, video)
            names = storage.names(uri) if storage.is_folder(uri) else []
            if any(name.endswith(".png") for name in names):
                label_maps[video] = ()
                continue
            folders = {name: storage.join(uri, name) for name in names if storage.is_folder(storage.join(uri, name))}
            expressions = [n for n, uri in folders.items() if any(png.endswith(".png") for png in storage.names(uri))]
            if expressions:
                by_expression[video] = tuple(expressions)
        if label_maps and by_expression:
            forms = "<video>/<frame>.png and <video>/<expression>/<frame>.png"
            raise InputError(f"{folder} mixes {forms}; separate the two forms")
        return cls(folder, bool(label_maps), label_maps or by_expression) if label_maps or by_expression else None

    def row_groups(self, requested: Collection[MaskKey] = ()) -> Iterator[tuple[RowGroup, list[MaskKey]]]:
        """Yield each video with its pairs; of label maps, those of `requested`."""
        keys: dict[str, list[MaskKey]] = {
            video: [(video, expression) for expression in expressions] for video, expressions in self.videos.items()
        }
        for key in requested if self.are_objects else ():
            if key[0] in keys:
                keys[key[0]].append(key)
        for video in sorted(keys):
            if keys[video]:
                yield RowGroup(video, 0), keys[video]

    def read(
        self, row_groups: Iterable[RowGroup], pairs: Sequence[RequestedPair], *, all_labels: bool = False
    ) -> pa.Table:
        """Return PREDICTIONS of `pairs`; of label maps with `all_labels`, of each label as if it were an expression."""
        rows: list[dict] = []
        for video, *_ in row_groups:
            of_video = [pair for pair in pairs if pair.video_id == video]
            if not self.are_objects:
                keys = [pair.key for pair in of_video if pair.key[1] in self.videos[video]]
                rows += [frame.row(*key, frame.labels != 0) for key in keys for frame in self._frames(*key)]
            elif all_labels:
                for frame in self._frames(video):
                    values = np.setdiff1d(frame.labels, [0, VOID_ID]).tolist()
                    rows += [frame.row(video, str(value), frame.labels == value) for value in values]
            else:
                rows += self._union_rows(video, of_video)
        return pa.Table.from_pylist(rows, schema=PREDICTIONS)

    def annotations(self) -> tuple[pa.Table, pa.Table | None]:
        """Return all masks as annotations, and the void pixels of label maps."""
        if not self.are_objects:
            keys = [(video, expression) for video in sorted(self.videos) for expression in self.videos[video]]
            rows = [frame.row(*key, frame.labels != 0) for key in keys for frame in self._frames(*key)]
            names = ["video_id", "expression_id", *VOID.names[1:]]
            return pa.Table.from_pylist(rows, schema=pa.schema([PREDICTIONS.field(name) for name in names])), None
        videos = []
        for video in sorted(self.videos):
            videos.append(MaskRows(video, ()))
            for frame in self._frames(video):
                videos[-1].add(*frame)
        void = pa.concat_tables([rows.void() for rows in videos])
        return pa.concat_tables([rows.annotations() for rows in videos]), void if len(void) else None

    def _frames(self, *folders: str) -> Iterator[PngFrame]:
        """Read the PNGs of a folder, by index. Raises InputError if one cannot be read."""
        folder = storage.join(self.folder, *folders)
        stems = [name.removesuffix(".png") for name in storage.names(folder) if name.endswith(".png")]
        numbered = all(stem.isascii() and stem.isdigit() and len(stem) < 10 for stem in stems)
        for index, stem in sorted((int(stem) if numbered else position, stem) for position, stem in enumerate(stems)):
            try:
                labels = read_mask(storage.join(folder, f"{stem}.png"))
            except MediaError as error:
                raise InputError(str(error)) from None
            yield PngFrame(index, stem, labels)

    def _union_rows(self, video: str, pairs: Sequence[RequestedPair]) -> Iterator[dict]:
        """Yield one row for each frame and pair: the union of the pair's objects in the label map."""
        labels_of: dict[tuple[str, ...], list[int]] = {}
        for pair in pairs:
            try:
                labels_of[pair.annotation_keys] = [int(object_id) for object_id in pair.annotation_keys]
            except ValueError:
                text = f"object_ids {list(pair.annotation_keys)} must be numbers to be looked up in label maps"
                raise InputError(pair.message(text)) from None
        for frame in self._frames(video):
            rows = {  # pairs with the same objects share a mask
                keys: frame.row(video, "", np.isin(frame.labels, labels)) for keys, labels in labels_of.items()
            }
            for pair in pairs:
                yield rows[pair.annotation_keys] | {"expression_id": pair.key[1]}
