"""The rows that another tool wrote for one pair, and the reason if they cannot be its masks."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.masks.by_video import PairMasks
from pipeline.masks.row_groups import frame_name
from schemas.errors import FAILURES, MediaError
from schemas.masks import NOT_CHOSEN, chosen_rows, failed_rows
from schemas.pair import PairKey

SIZED = ("height", "width", "counts")


@dataclass(frozen=True, slots=True)
class ImportedPair:
    """The rows (PREDICTIONS) of one pair that have a frame, by index. Their masks are not checked."""

    key: PairKey
    rows: list[dict]

    @classmethod
    def of(cls, key: PairKey, table: pa.Table) -> "ImportedPair":
        """Take the rows of one pair.

        Raises MediaError if one says that the pair failed, or none has a frame; InputError for a duplicate frame or
        frame name.
        """
        for row in failed_rows(table).slice(0, 1).to_pylist():
            known = row["status"] in FAILURES
            said = (row["error"] or "the table gives no reason").removeprefix(f"{key}: ")
            frame = None if row["frame_index"] is None else frame_name(row)
            text = said if known else f"its status is {row['status']!r}: {said}"
            raise MediaError(row["status"] if known else "bad_row", text, frame)
        frames = chosen_rows(table.filter(pc.is_valid(table["frame_index"]))).sort_by("frame_index")
        if not frames.num_rows and pc.any(pc.is_valid(table["frame_index"])).as_py():
            raise MediaError("missing", NOT_CHOSEN)
        if not frames.num_rows:
            raise MediaError("missing", "no row of the pair has a frame_index")
        PairMasks(key._asdict(), frames).require_one_mask_a_frame()
        return cls(key, frames.to_pylist())


def require_mask(row: dict) -> None:
    """Raise MediaError if a row that has a frame lacks its size or mask."""
    for name in SIZED:
        if row[name] is None:
            text = f"column '{name}' is null; store an empty mask as an all-background RLE of the size of the frame"
            raise MediaError("corrupt", text, frame_name(row))
