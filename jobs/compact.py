"""`rvos compact`: copy the masks of a run to few large files, sorted by video."""

from dataclasses import asdict, dataclass

from jobs.config.compact import CompactConfig
from jobs.result import JobResult
from pipeline.io import storage
from pipeline.runs.compact import Compacted, compact_run
from pipeline.runs.run import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactResult(JobResult):
    """The data set in `out`; `fresh` is False if it existed before."""

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
                f"out     {self.out}{'' if self.fresh else ' (already existed)'}",
                f"files   {len(parts)}, {size:,.1f} MB, sorted by video",
                f"pairs   {self.compacted.pairs}, {self.compacted.rows} rows",
            ]
        )


def run(config: CompactConfig) -> CompactResult:
    """Compact the run, unless `out` already holds it. Raises InputError as `compact_run`."""
    out = storage.absolute(config.out)
    compacted, existed = compact_run(Run.open(storage.absolute(config.run)), out)
    return CompactResult(out=out, fresh=not existed, compacted=compacted)
