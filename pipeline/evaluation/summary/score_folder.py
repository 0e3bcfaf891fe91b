"""A folder of scores, as `rvos evaluate --out` writes it, read back."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from pipeline.evaluation.protocols import PROTOCOLS, Protocol
from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.io import storage
from schemas.check import conform
from schemas.errors import InputError, StorageError
from schemas.scores import FRAME_SCORES, SCORES

MAX_SUMMARY = 2**28  # bytes
NOT_METRICS = ("n", "videos", "interval")


@dataclass(frozen=True, slots=True)
class ScoreFolder:
    """What summary.json says, and the tables beside it."""

    folder: str
    summary: dict

    @classmethod
    def open(cls, folder: str) -> "ScoreFolder":
        """Raises InputError if `folder` holds no scores, or a summary that this version cannot read."""
        folder = storage.absolute(folder)
        uri = storage.join(folder, "summary.json")
        try:
            summary = json.loads(storage.read_bytes(uri, limit=MAX_SUMMARY))
        except FileNotFoundError:
            raise InputError(f"{folder} holds no scores (no summary.json); 'rvos evaluate --out' writes them") from None
        except StorageError:
            raise  # not the file's fault
        except (ValueError, OSError) as error:
            raise InputError(f"{uri} cannot be read: {error}") from None
        parts = [summary.get(name) for name in ("overall", "pairs", "frames")] if isinstance(summary, dict) else [None]
        if not all(isinstance(part, dict) for part in parts):
            raise InputError(f"{uri} is no summary of scores; 'rvos evaluate --out' writes one")
        if summary.get("protocol") not in PROTOCOLS:
            raise InputError(f"{uri}: protocol {summary.get('protocol')!r} is not known to this version of rvos")
        return cls(folder, summary)

    @property
    def protocol(self) -> Protocol:
        return PROTOCOLS[self.summary["protocol"]]

    @property
    def metrics(self) -> list[str]:
        """Those that have a mean, the main one first."""
        return [name for name in self.summary["overall"] if name not in NOT_METRICS]

    def table(self) -> pd.DataFrame:
        """scores.parquet: a row for each pair and metric, attributes with them; ids that are null become empty."""
        uri = storage.join(self.folder, "scores.parquet")
        try:
            rows: Any = conform(storage.read_table(uri), SCORES, uri).to_pandas()
        except FileNotFoundError:
            raise InputError(f"{uri} is missing; 'rvos evaluate' writes it beside summary.json") from None
        return rows.assign(**{name: rows[name].fillna("") for name in SCORE_IDS})

    def pairs(self) -> pd.DataFrame:
        """A row for each pair, by id: ids, attributes, and a column for each metric that pairs have (NaN: none)."""
        rows = self.table()
        values = rows.pivot_table(index=list(SCORE_IDS), columns="metric", values="value", observed=True)
        attributes = rows.drop(columns=["metric", "value"]).drop_duplicates(list(SCORE_IDS)).set_index(list(SCORE_IDS))
        return attributes.join(values).sort_index().reset_index()

    def frame_scores(self) -> Iterator[pa.Table]:
        """frame_scores.parquet, a row group at a time."""
        uri = storage.join(self.folder, "frame_scores.parquet")
        try:
            with storage.open_parquet(uri) as file:
                for group in range(file.num_row_groups):
                    yield conform(file.read_row_group(group), FRAME_SCORES, uri)
        except FileNotFoundError:
            raise InputError(f"{uri} is missing; 'rvos evaluate' writes it beside summary.json") from None
