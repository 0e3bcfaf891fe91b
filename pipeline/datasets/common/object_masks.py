"""Turn masks that a data set stores object by object, as COCO JSON or as arrays, into checked ANNOTATIONS rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.datasets.common.dataset_video import DatasetVideo
from pipeline.io import storage
from pipeline.masks.png_trees import SUFFIX, read_frame
from pipeline.masks.tree_masks import TreeMasks
from schemas import rle
from schemas.errors import InputError, MediaError
from schemas.masks import ANNOTATIONS, VOID
from schemas.printable import counted

Size = tuple[int, int]  # height, width
MASKS_LOOKED_AT = 64  # of a video: enough to see how all masks of a data set were encoded
NO_SIZE = "videos with neither masks nor images to take the frame size from; they have no annotations, no scores"
UNUSUAL_MASKS = "videos whose masks are not as published, read as"
OTHER_SIZE = "videos whose masks and images differ in size; predictions will not fit the masks"


def from_coco(value: Any) -> tuple[bytes, Size]:
    """RLE string and size of a mask in COCO's JSON, whose counts are a string or a list of runs.

    Raises RleError unless it is the valid RLE of a mask.
    """
    try:
        (height, width), counts = value["size"], value["counts"]
    except (TypeError, KeyError, ValueError):
        if isinstance(value, list):
            text = "polygons must have at least three corners each, all near the frame, and not fill it with lines"
            raise rle.RleError(text) from None
        raise rle.RleError("not an RLE of the form {'size': [HEIGHT, WIDTH], 'counts': ...}") from None
    height, width = rle.whole(height), rle.whole(width)
    if height is None or width is None:
        raise rle.RleError(f"size must be two whole numbers, got {value['size']!r}")
    if isinstance(counts, list):
        return rle.from_runs(counts, height, width), (height, width)
    if not isinstance(counts, str) or not counts.isascii():
        raise rle.RleError("counts must be an RLE string or a list of runs")
    rle.check(counts.encode(), height, width)
    return counts.encode(), (height, width)


class ObjectMasks:
    """The masks of one video: add each, None where the object is absent; then take `annotations`."""

    def __init__(
        self, video: DatasetVideo, sequence: list[str], size: Size | None = None, frame_size: Size | None = None
    ):
        """`sequence`: all frame names in order. `size`: required of all masks; `frame_size`: that of the images.

        Without `size` the first mask sets it. A `frame_size` that differs is a warning.
        """
        self.video, self.size, self.frame_size = video, size, frame_size
        self.seen: set[str] = set()  # objects with a mask that shows a pixel
        self._index_of = {name: index for index, name in enumerate(sequence)}
        self._rows: list[dict] = []

    def add(self, object_id: str | None, name: str, counts: bytes | None, size: Size | None = None) -> None:
        """Take the valid RLE of an object in the frame `name`; `size` is that of the mask, None with null counts.

        Problems join those of the video.
        """
        place = f"frame {name}" if object_id is None else f"object {object_id} frame {name}"
        if name not in self._index_of:
            self.video.problems.append(f"{place}: the video does not have this frame")
            return
        if counts is not None and size is not None:
            self.size = self.size or size
            if size != self.size:
                sizes = f"the mask is {size[1]}x{size[0]}, others are {self.size[1]}x{self.size[0]}"
                self.video.problems.append(f"{place}: {sizes}")
                return
            if object_id is not None and counts != rle.empty(*size):
                self.seen.add(object_id)
        row = {"object_id": object_id, "frame_index": self._index_of[name], "frame_name": name, "counts": counts}
        self._rows.append(row)

    def add_pngs(self, object_id: str, files: Mapping[str, str]) -> None:
        """Take the PNG masks of one object: their URIs by frame name. All are read in one way, see `mask_values`."""
        frames = []
        for name, uri in files.items():
            try:
                frames.append(read_frame(uri, self._index_of.get(name, -1), binary=True))
            except MediaError as error:
                self.video.problems.append(str(error))
        key = (self.video.video_id, object_id)
        try:
            masks = TreeMasks.of(self.video.video_id, False, {key: frames})
        except InputError as error:
            self.video.problems.append(f"object {object_id}: {error}")
            return
        uri_of = {storage.file_name(uri)[: -len(SUFFIX)]: uri for uri in files.values()}
        masks = masks.cut_files_anew(key, uri_of)
        if not masks.meaning.usual:
            self.video.warnings.append((f"{UNUSUAL_MASKS} {masks.meaning.text}", f"{self.video.video_id} {object_id}"))
        for frame, counts in masks.binary_masks(key):
            self.add(object_id, frame.name, counts, (frame.height, frame.width) if counts else None)

    def add_array(self, object_id: str, name: str, mask: np.ndarray) -> None:
        """Take a mask, bool [H, W]; the object is absent if it is empty."""
        if mask.any():
            self.add(object_id, name, rle.encode(mask[None])[0], (mask.shape[0], mask.shape[1]))
        else:
            self.add(object_id, name, None)

    def add_coco(self, object_id: str | None, name: str, value: Any, box: object = None) -> None:
        """Take a mask in COCO's JSON, or a null, with its box, or None; an invalid RLE is a problem."""
        place = f"frame {name}" if object_id is None else f"object {object_id} frame {name}"
        try:
            counts, size = from_coco(value) if value else (None, None)
        except rle.RleError as error:
            self.video.problems.append(f"{place}: {error}")
        else:
            if counts and size and len(self._rows) < MASKS_LOOKED_AT:
                self.video.run_order.add(counts, *size, f"{self.video.video_id} {place}", box)
            self.add(object_id, name, counts, size)

    def add_list(
        self, object_id: str | None, names: list[str], masks: object, place: str, boxes: object = None
    ) -> None:
        """Take a list with one mask in COCO's JSON, or null, for each frame of `names`; `place` is for messages.

        boxes: a list with one box for each frame, if the data set has them.
        """
        if not isinstance(masks, list) or len(masks) != len(names):
            have = counted(len(masks), "mask") if isinstance(masks, list) else "no list of masks"
            self.video.problems.append(f"{place}: {have} for {counted(len(names), 'frame')}")
            return
        boxes = boxes if isinstance(boxes, list) and len(boxes) == len(names) else [None] * len(names)
        for name, mask, box in zip(names, masks, boxes, strict=True):
            self.add_coco(object_id, name, mask, box)

    def annotations(self) -> pa.Table:
        """ANNOTATIONS, by object and frame; empty if the size is unknown."""
        return self._table(ANNOTATIONS)

    def regions(self) -> pa.Table:
        """VOID rows of the masks that were added without an object; frames without a mask have none."""
        self._rows = [row for row in self._rows if row["counts"] is not None]
        return self._table(VOID)

    def _table(self, schema: pa.Schema) -> pa.Table:
        size = self.size or self.frame_size
        if size is None:
            self.video.warnings += [(NO_SIZE, self.video.video_id)] if self._rows else []
            return schema.empty_table()
        if self.frame_size and size != self.frame_size:
            sizes = f"masks {size[1]}x{size[0]}, images {self.frame_size[1]}x{self.frame_size[0]}"
            self.video.warnings.append((OTHER_SIZE, f"{self.video.video_id}: {sizes}"))
        every = {"video_id": self.video.video_id, "height": size[0], "width": size[1]}
        rows = sorted(self._rows, key=lambda row: (len(row["object_id"] or ""), row["object_id"], row["frame_index"]))
        return pa.Table.from_pylist([every | row for row in rows], schema=schema)
