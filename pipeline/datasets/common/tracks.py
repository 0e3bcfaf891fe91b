"""Masks that a data set keeps object by object, as COCO JSON or as arrays: checked, and made ANNOTATIONS rows."""

from typing import Any

import pyarrow as pa

from pipeline.datasets.common.dataset_video import DatasetVideo
from schemas import rle
from schemas.masks import ANNOTATIONS, VOID

Size = tuple[int, int]  # height, width
NO_SIZE = "videos whose objects have neither masks nor images to tell their size; they are not annotated, not scored"
OTHER_SIZE = "videos whose masks have not the size of their images; predictions will not fit them"


def from_coco(value: Any) -> tuple[bytes, Size]:
    """The string and the size of a mask in COCO's JSON, its counts a string or a list of runs.

    Raises RleError if it is not exactly the RLE of a mask.
    """
    try:
        (height, width), counts = value["size"], value["counts"]
    except (TypeError, KeyError, ValueError):
        raise rle.RleError("no RLE of the form {'size': [HEIGHT, WIDTH], 'counts': ...}") from None
    if not all(type(side) is int for side in (height, width)):
        raise rle.RleError(f"size {value['size']!r} is not two whole numbers")
    if isinstance(counts, list):
        return rle.from_runs(counts, height, width), (height, width)
    if not isinstance(counts, str) or not counts.isascii():
        raise rle.RleError("counts is neither an RLE string nor a list of runs")
    rle.check(counts.encode(), height, width)
    return counts.encode(), (height, width)


class Tracks:
    """The masks of one video: `add` each, null where the object is absent; `annotations` when all are there."""

    def __init__(self, found: DatasetVideo, sequence: list[str], size: Size | None = None, frames: Size | None = None):
        """`sequence` are all frame names in order. `size` is what all masks must have, `frames` what the images have.

        Without `size` all masks must be as large as the first one; it is a warning if the images are not.
        """
        self.found, self.size, self.frames = found, size, frames
        self.seen: set[str] = set()  # objects with a mask
        self._index_of = {name: index for index, name in enumerate(sequence)}
        self._rows: list[dict] = []

    def add(self, object_id: str | None, name: str, counts: bytes | None, size: Size | None = None) -> None:
        """Take what an object is in the frame `name`; what is wrong joins the video's problems.

        `counts` must be sound. `size` is that of the mask, and left out with null counts.
        """
        where = _where(object_id, name)
        if name not in self._index_of:
            self.found.problems.append(f"{where}: there is no such frame in the video")
            return
        if counts is not None and size is not None:
            self.size = self.size or size
            if size != self.size:
                self.found.problems.append(f"{where}: the mask is {_told(size)}, others are {_told(self.size)}")
                return
            if object_id is not None:
                self.seen.add(object_id)
        row = {"object_id": object_id, "frame_index": self._index_of[name], "frame_name": name, "counts": counts}
        self._rows.append(row)

    def add_coco(self, object_id: str | None, name: str, value: Any) -> None:
        """As `add`, for a mask in COCO's JSON or null."""
        if not value:
            self.add(object_id, name, None)
        elif (mask := self.checked(object_id, name, value)) is not None:
            self.add(object_id, name, *mask)

    def checked(self, object_id: str | None, name: str, value: Any) -> tuple[bytes, Size] | None:
        """As `from_coco`; None, with a problem of the video, for what is no RLE."""
        try:
            return from_coco(value)
        except rle.RleError as error:
            self.found.problems.append(f"{_where(object_id, name)}: {error}")
            return None

    def annotations(self) -> pa.Table:
        """ANNOTATIONS, by object and frame. Empty if no object has a mask anywhere and the size is not known."""
        return self._table(ANNOTATIONS)

    def regions(self) -> pa.Table:
        """What was added without an object, as VOID has it: where there is a mask only."""
        self._rows = [row for row in self._rows if row["counts"] is not None]
        return self._table(VOID)

    def _table(self, schema: pa.Schema) -> pa.Table:
        size = self.size or self.frames
        if size is None:
            self.found.warnings += [(NO_SIZE, self.found.video_id)] if self._rows else []
            return schema.empty_table()
        if self.frames and size != self.frames:
            where = f"{self.found.video_id}: masks {_told(size)}, images {_told(self.frames)}"
            self.found.warnings.append((OTHER_SIZE, where))
        every = {"video_id": self.found.video_id, "height": size[0], "width": size[1]}
        rows = sorted(self._rows, key=lambda row: (len(row["object_id"] or ""), row["object_id"], row["frame_index"]))
        return pa.Table.from_pylist([every | row for row in rows], schema=schema)


def _told(size: Size) -> str:
    return f"{size[1]}x{size[0]}"


def _where(object_id: str | None, name: str) -> str:
    return f"object {object_id} frame {name}" if object_id is not None else f"frame {name}"
