"""`rvos report`: show one set of scores as a page that works offline."""

import shlex
import textwrap
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from jobs import compare
from jobs.config.compare import CompareConfig
from jobs.config.report import ReportConfig
from jobs.result import JobResult
from pipeline.evaluation.summary.grouping import Grouping
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.io import storage
from pipeline.report.score_report import build_report
from schemas.shown import without_secrets


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportResult(JobResult):
    """The page, its size, the number of frames in it, and notes on frames that could not be shown."""

    page: str
    bytes: int
    pictures: int
    notes: list[str]

    def text(self) -> str:
        lines = [f"report  {self.page}", f"size    {self.bytes / 1e6:.1f} MB, {self.pictures} frames shown"]
        for note in self.notes:
            lines += textwrap.wrap(note, 80, initial_indent="note    ", subsequent_indent=" " * 8)
        return "\n".join(lines)


def run(config: ReportConfig) -> ReportResult:
    """Write report.html to `config.out`. Raises InputError if a folder has no scores or cannot be compared."""
    scored = ScoreFolder.open(config.scores)
    sources = {name: getattr(config, name) for name in ("predictions", "annotations", "manifest", "media")}
    origin = _origin(config)
    if config.against is None:
        report = build_report(scored, sources, origin, allow_local=config.allow_local)
    else:
        baseline = ScoreFolder.open(config.against)
        known = set(baseline.table().columns)
        breakdowns = scored.summary.get("by") or {}
        by = tuple(text for text in breakdowns if known.issuperset(one.name for one in Grouping.parse(text).columns))
        compared = compare.run(CompareConfig(scores=(config.against, config.scores), by=by))
        report = build_report(
            scored,
            sources,
            origin,
            baseline,
            compared.comparisons[0],
            compared.warnings,
            allow_local=config.allow_local,
        )
    page = storage.join(storage.absolute(config.out), "report.html")
    storage.write_bytes(page, report.html)
    return ReportResult(page=page, bytes=len(report.html), pictures=report.thumbnails, notes=report.notes)


def _origin(config: ReportConfig) -> list[tuple[str, str]]:
    """Return how the page came about, as terms and texts."""
    words = ["rvos", "report", config.scores]
    for name, value in asdict(config).items():
        if name != "scores" and value not in (None, False):
            flag = f"--{name.replace('_', '-')}"
            words += [flag] if value is True else [flag, value]
    baseline = [] if config.against is None else [("baseline", without_secrets(storage.absolute(config.against)))]
    return [
        *baseline,
        ("command", without_secrets(shlex.join(words))),
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        (
            "intervals",
            "computed from the videos without resampling, so there is neither a seed nor a number of resamples",
        ),
    ]
