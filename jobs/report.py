"""`rvos report`: show one set of scores as a page that works offline."""

import textwrap
from dataclasses import dataclass, field

from jobs import compare
from jobs.config.compare import CompareConfig
from jobs.config.report import ReportConfig
from jobs.origin import origin_of
from jobs.result import JobResult
from pipeline.evaluation.summary.grouping import Grouping
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.io import output_file, storage
from pipeline.report.page import made_of_line
from pipeline.report.score_report import build_report
from pipeline.report.svg_file import write_plots
from schemas.shown import without_secrets


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportResult(JobResult):
    """The page, its size, the number of frames in it, and notes on frames that could not be shown."""

    page: str
    bytes: int
    pictures: int
    notes: list[str]
    plots: list[str] = field(default_factory=list)  # SVG files

    def text(self) -> str:
        lines = [f"report  {self.page}", f"size    {self.bytes / 1e6:.1f} MB, {self.pictures} frames shown"]
        if self.plots:
            lines.append(f"plots   {len(self.plots)} SVG files in {storage.parent(self.plots[0])}")
        for note in self.notes:
            lines += textwrap.wrap(note, 80, initial_indent="note    ", subsequent_indent=" " * 8)
        return "\n".join(lines)


def run(config: ReportConfig) -> ReportResult:
    """Write report.html to `config.out`. Raises InputError if a folder has no scores or cannot be compared, or if the
    page or a plot there is of others."""
    scored = ScoreFolder.open(config.scores)
    sources = {name: getattr(config, name) for name in ("predictions", "annotations", "manifest", "media")}
    origin = origin_of("report", config)
    made_of = f"scores {scored.folder}"
    if config.against is None:
        report = build_report(scored, sources, origin, made_of=made_of, allow_local=config.allow_local)
    else:
        baseline = ScoreFolder.open(config.against)
        made_of += f", baseline {baseline.folder}"
        origin = [("baseline", without_secrets(storage.absolute(config.against))), *origin]
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
            made_of=made_of,
            allow_local=config.allow_local,
        )
    out = storage.absolute(config.out)
    page = storage.join(out, "report.html")
    output_file.require_own(page, made_of_line(made_of))
    plots = write_plots(report.plots, storage.join(out, "plots"), made_of) if config.svg else []
    output_file.replace_own(page, report.html, made_of_line(made_of))
    return ReportResult(page=page, bytes=len(report.html), pictures=report.thumbnails, plots=plots, notes=report.notes)
