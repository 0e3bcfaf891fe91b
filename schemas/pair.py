"""The key of a pair, and the one way to print it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # cli.py imports this module, and its help must start fast
    import pyarrow as pa


PAIR_COLUMNS = ["video_id", "expression_id"]


class PairKey(NamedTuple):
    """A video and an expression about it. `str` gives the form that messages use."""

    video_id: str
    expression_id: str

    def __str__(self) -> str:
        return f"video_id={short_id(self.video_id)} expression_id={short_id(self.expression_id)}"

    @classmethod
    def of(cls, row: Mapping) -> "PairKey":
        """Return the key of a row, a mapping with the columns video_id and expression_id."""
        return cls(row["video_id"], row["expression_id"])

    @classmethod
    def of_all(cls, table: "pa.Table") -> list["PairKey"]:
        """Return the keys of all rows of `table`, in order."""
        return list(map(cls, table["video_id"].to_pylist(), table["expression_id"].to_pylist()))


def short_id(value: str) -> str:
    """Return an id as messages and tables show it: the start of one that is long enough to flood a terminal."""
    return value if len(value) <= 300 else f"{value[:100]}..."
