"""Read a folder of scores that `rvos evaluate --out` wrote."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from pipeline.evaluation.protocols import MEAN_WEIGHT, PROTOCOLS, Protocol
from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.summary.summary_document import summary_problem
from pipeline.io import output_folder, parquet, storage
from pipeline.io.recognise import recognise
from schemas.check import row_place
from schemas.errors import InputError, StorageError
from schemas.json_text import parse
from schemas.kinds import Kind
from schemas.pair import PairKey
from schemas.scores import FRAME_SCORES, SCORES, conform_scores
from schemas.shown import shown

TABLES = ("scores.parquet", "frame_scores.parquet")
MAX_SUMMARY = 2**28  # bytes
NOT_METRICS = ("n", "videos", "interval")


@dataclass(frozen=True, slots=True)
class ScoreFolder:
    """The content of summary.json, and access to the tables of its folder."""

    folder: str
    summary: dict

    @classmethod
    def open(cls, folder: str) -> "ScoreFolder":
        """Read summary.json. Raises InputError if `folder` has none, or one that this version cannot read."""
        folder = storage.absolute(folder)
        uri = storage.join(folder, "summary.json")
        absent = f"{folder} holds no scores (no summary.json); 'rvos evaluate --out' writes them"
        summary = read_json(uri, MAX_SUMMARY, absent)
        if problem := summary_problem(summary):
            raise InputError(
                f"{uri} is not a summary of scores ({problem} cannot be used); 'rvos evaluate --out' writes one"
            )
        if summary.get("protocol") not in [*PROTOCOLS]:  # a list: the value may be of any type
            raise InputError(f"{uri}: this version of rvos does not know the protocol {summary.get('protocol')!r}")
        if summary.get("decay_8bit"):
            text = "its decay was computed with 8-bit frame numbers (--decay-8bit), which this version does not support"
            raise InputError(f"{uri}: {text}; repeat 'rvos evaluate'")
        return cls(folder, summary)

    def place_of(self, name: str, *, allow_local: bool = False) -> str | None:
        """Return where the summary says that predictions, annotations or manifest are; None if it does not say.

        Raises InputError for another server or bucket than that of the scores, and for files of this machine unless the
        scores, too, are here or `allow_local`: a summary may be a stranger's, and what it names is opened with the
        rights and keys of the reader.
        """
        place = self.summary.get(name)
        if place is None:
            return None
        place = storage.absolute(str(place))
        may_be_local = allow_local or not storage.is_remote(self.folder)
        if storage.origin(place) not in (*([""] if may_be_local else []), storage.origin(self.folder)):
            where = "on this machine, not in" if storage.is_local(place) else "not in"
            way = " or --allow-local" if storage.is_local(place) else ""
            raise InputError(
                f"summary.json names {shown(place)}, which is {where} the storage of the scores; give --{name} "
                f"{shown(place)}{way} if it may be read"
            )
        return place

    @property
    def protocol(self) -> Protocol:
        return PROTOCOLS[self.summary["protocol"]]

    @property
    def metrics(self) -> list[str]:
        """The metrics that have a mean, the main one first."""
        return [name for name in self.summary["overall"] if name not in NOT_METRICS]

    def table(self) -> pd.DataFrame:
        """Return scores.parquet: one row for each pair and metric, with attributes; null ids become empty."""
        uri = storage.join(self.folder, "scores.parquet")
        try:
            return plain_scores(parquet.read_table(uri), uri)
        except FileNotFoundError:
            raise InputError(f"{uri} is missing; repeat 'rvos evaluate', which writes it") from None

    def pairs(self) -> pd.DataFrame:
        """Return one row for each pair, sorted by id: ids, attributes, and a column for each metric (NaN: none)."""
        ids, rows = list(SCORE_IDS), self.table()
        values = rows.pivot_table(index=ids, columns="metric", values="value", observed=True)
        others = rows.drop(columns=["metric", "value", MEAN_WEIGHT], errors="ignore")
        attributes = others.drop_duplicates(ids).set_index(ids)
        return attributes.join(values).sort_index().reset_index()

    def frame_scores(self) -> Iterator[pa.Table]:
        """Yield the row groups of frame_scores.parquet."""
        uri = storage.join(self.folder, "frame_scores.parquet")
        try:
            with parquet.open_file(uri) as file:
                parquet.verify(uri)
                for group in range(file.num_row_groups):
                    yield conform_scores(file.read_row_group(group), FRAME_SCORES, uri)
        except FileNotFoundError:
            raise InputError(f"{uri} is missing; repeat 'rvos evaluate', which writes it") from None


def read_json(uri: str, limit: int, absent: str) -> Any:
    """Read a JSON file of at most `limit` bytes. Raises InputError, with the text `absent` if there is none."""
    try:
        return parse(storage.read_bytes(uri, limit=limit))
    except FileNotFoundError:
        raise InputError(absent) from None
    except StorageError:
        raise  # not the file's fault
    except (ValueError, OSError) as error:
        raise InputError(f"{uri} cannot be read: {error}") from None


def require_own_scores(folder: str, made_of: dict) -> list[str]:
    """Raise InputError if `folder` holds scores of another rule or of other files, or files of others.

    Returns the groupings (`--by`) of the scores that are there. made_of: entries of summary.json, which decide the
    scores. Scores without a summary are left from an interrupted evaluation.
    """
    output_folder.require_folder(folder)
    uri = storage.join(folder, "summary.json")
    try:
        before = parse(storage.read_bytes(uri, limit=MAX_SUMMARY))
    except FileNotFoundError:
        for name in TABLES:
            table = storage.join(folder, name)
            if storage.exists(table) and recognise(table) is not Kind.SCORE_TABLE:
                raise InputError(f"{table} is not a table of scores; choose a new folder") from None
        return []
    except ValueError:
        before = None
    if not isinstance(before, dict) or summary_problem(before):
        raise InputError(f"{uri} is not a summary of scores; choose a new folder")
    if reason := output_folder.differences({name: before.get(name) for name in made_of}, made_of):
        raise InputError(f"{folder} holds other scores ({reason}); choose a new folder, or remove this one")
    return list(before.get("by") or {})


def plain_scores(table: pa.Table, source: str) -> pd.DataFrame:
    """Return a table of SCORES with empty ids in place of null or absent ones. Raises InputError for doubled rows."""
    rows: Any = conform_scores(table, SCORES, source).to_pandas()
    rows = rows.assign(**{name: rows[name].fillna("") for name in SCORE_IDS})
    again = rows.duplicated([*SCORE_IDS, "metric"])
    if again.any():
        row = int(again.to_numpy().argmax())
        text = f"the pair {PairKey.of(rows.iloc[row])} has two rows of {rows['metric'].iloc[row]}"
        raise InputError(f"{source} {row_place(row)}: {text}; repeat 'rvos evaluate'")
    return rows
