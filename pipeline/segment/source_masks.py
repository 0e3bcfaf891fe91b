"""Masks of the run that is refined, pair by pair, as the model takes them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model.segmenter import SourceMasks
from pipeline.io import parquet
from pipeline.runs.commit import damage_of
from pipeline.runs.plan import SOURCE_UNIT
from pipeline.runs.run import Run
from pipeline.segment.clips import Window
from schemas import rle
from schemas.check import add_missing_columns
from schemas.errors import InputError
from schemas.masks import PREDICTIONS, chosen_rows
from schemas.pair import PairKey

REPAIR = "make RUN again from the present video, in a new folder"


@dataclass(slots=True)
class SourcePair:
    """The masks of one pair: rows of PREDICTIONS, one a frame."""

    rows: pa.Table
    row_of: dict[int, int] = field(init=False)  # frame_index -> row

    def __post_init__(self) -> None:
        self.row_of = {index: row for row, index in enumerate(self.rows["frame_index"].to_pylist())}

    def problem(self, window: Window, kept: Sequence[int]) -> str | None:
        """Return why the masks are not those of the frames `kept` of a window, or None."""
        for position in kept:
            row = self.row_of.get(window.indices[position])
            name = window.names[position]
            if row is None:
                return f"frame {name} has no mask in the source, so the video has changed since; {REPAIR}"
            found = {each: self.rows[each][row].as_py() for each in ("frame_name", "height", "width")}
            if found["frame_name"] not in (None, name):
                return f"frame {name} is {found['frame_name']} in the source, so the video has changed; {REPAIR}"
            if (found["height"], found["width"]) != window.size:
                size = f"{found['width']}x{found['height']}"
                return f"frame {name} is {window.size[1]}x{window.size[0]}, its mask in the source {size}; {REPAIR}"
        return None

    def lacks(self, frames: int) -> str | None:
        """Return the problem if the video had only so many frames, or None."""
        if frames < len(self.row_of):
            return f"{frames} frames were read, the source has masks of {len(self.row_of)}; {REPAIR}"
        return None

    def in_window(self, window: Window) -> SourceMasks:
        """Return the masks of the frames of a window."""
        rows = [self.row_of.get(index) for index in window.indices]

        def values(name: str) -> list:
            return [None if row is None else self.rows[name][row].as_py() for row in rows]

        counts, height, width = values("counts"), *window.size
        areas = [0 if one is None else int(rle.run_lengths(one, height, width)[1::2].sum()) for one in counts]
        scores = [1.0 if score is None else score for score in values("score")]
        return SourceMasks(
            np.array(areas, np.int64),
            np.array(scores, np.float32),
            values("margin"),
            lambda position: rle.decode(counts[position], height, width),
        )


def read_sources(
    source: str, rows: list[dict]
) -> tuple[dict[PairKey, SourcePair], list[dict], list[tuple[dict, str, str]]]:
    """Read the masks that the plan rows of one unit refine.

    Returns the masks by pair, the rows to segment, and those that failed in `source`, with status and error. Raises
    InputError if the object of the unit is missing or damaged.
    """
    unit_id = rows[0][SOURCE_UNIT]
    uri = Run(source, "").masks_uri(unit_id)
    if damage := damage_of(uri):
        raise InputError(f"{uri} cannot be refined: {damage}; repeat the command that wrote it, with --repair")
    with parquet.open_file(uri) as file:
        table = add_missing_columns(file.read(), PREDICTIONS)
    failed = table.filter(pc.not_equal(table["status"], "ok"))
    reasons = dict(zip(PairKey.of_all(failed), failed.select(["status", "error"]).to_pylist(), strict=True))
    masks = chosen_rows(table.filter(pc.equal(table["status"], "ok")))
    positions: dict[PairKey, list[int]] = defaultdict(list)
    for position, pair in enumerate(PairKey.of_all(masks)):
        positions[pair].append(position)
    pairs = {PairKey.of(row): row for row in rows}
    refused = [
        (row, reasons[pair]["status"], f"in {source}: {(reasons[pair]['error'] or '').removeprefix(f'{pair}: ')}")
        for pair, row in pairs.items()
        if pair in reasons
    ]
    left = {pair: row for pair, row in pairs.items() if pair not in reasons}
    if absent := [pair for pair in left if pair not in positions]:
        raise InputError(f"{uri} has no row of {absent[0]}; run 'rvos audit {source}'")
    return {pair: SourcePair(masks.take(positions[pair])) for pair in left}, list(left.values()), refused
