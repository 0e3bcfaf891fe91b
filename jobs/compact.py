"""`rvos compact`: a run as a data set of few large files, sorted by video."""

from dataclasses import asdict, dataclass

from jobs.config.compact import CompactConfig
from pipeline.io import storage
from pipeline.runs.compact import Compacted, compact_run
from pipeline.runs.run import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactResult:
    """What lies in `out` now; `fresh` is False if it was there before."""

    out: str
    fresh: bool
    compacted: Compacted

    def to_json(self) -> dict:
        counts = {"pairs": self.compacted.pairs, "rows": self.compacted.rows}
        return {"out": self.out, "fresh": self.fresh, **counts, **asdict(self.compacted)}

    def text(self) -> str:
        parts = self.compacted.parts
        size = sum(part.bytes for part in parts) / 2**20
        return "\n".join(
            [
                f"run     {self.compacted.run}",
                f"out     {self.out}{'' if self.fresh else ' (was there already)'}",
                f"files   {len(parts)}, {size:,.1f} MB, sorted by video",
                f"pairs   {self.compacted.pairs}, {self.compacted.rows} rows",
            ]
        )


def run(config: CompactConfig) -> CompactResult:
    """Compact the run; nothing happens if that was done. Raises InputError as `compact_run`."""
    out = storage.absolute(config.out)
    compacted, was_there = compact_run(Run.open(storage.absolute(config.run)), out)
    return CompactResult(out=out, fresh=not was_there, compacted=compacted)
