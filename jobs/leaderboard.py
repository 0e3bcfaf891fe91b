"""`rvos leaderboard`: add scores to a shared ranking, show it, export it."""

import json
import re
import textwrap
from dataclasses import asdict, dataclass

from jobs.config.leaderboard import TABLES, AddConfig, LeaderboardExportConfig, ShowConfig
from jobs.origin import origin_of
from jobs.result import JobResult
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.summary.leaderboard import Leaderboard
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.io import output_file, storage
from pipeline.report.board import board_html, board_notes, board_table
from pipeline.report.page import made_of_line, truncate
from pipeline.report.score_tables import TABLE_FORMATS, ScoreTable

NAME_COLUMNS = 16  # so that a table with the metrics J&F, J and F has 80 columns
HASH_CHARACTERS = 19
STORE_LINE = re.compile(r'  "store": |(% )?Leaderboard ')  # of an exported file


@dataclass(frozen=True, kw_only=True, slots=True)
class Standings(JobResult):
    """The leaderboard. `entries`: as `Leaderboard.standings` returns them."""

    store: str
    rule: dict
    entries: list[dict]
    notes: list[str]
    added: str | None = None  # the entry that this command added
    exported: str | None = None  # the file that it wrote

    def to_json(self) -> dict:
        return {name: value for name, value in asdict(self).items() if value is not None}

    def table(self) -> ScoreTable:
        return board_table(self.rule, self.entries, self.store)

    def text(self) -> str:
        protocol = PROTOCOLS[self.rule["protocol"]]
        lines = [
            f"leaderboard  {self.store}",
            f"protocol     {protocol.name}: {protocol.title}",
            f"truth        {truncate(self.rule['truth_hash'], HASH_CHARACTERS)}, missing: {self.rule['missing_rule']}",
        ]
        if self.added is not None:
            lines.append(f"added        {self.added}")
        if self.exported is not None:
            lines.append(f"exported     {self.exported}")
        notes = (textwrap.wrap(f"note: {text}", 80, subsequent_indent="   ") for text in self.notes)
        return "\n".join(
            [*lines, "", *_table(self.entries, protocol.shown), *(line for note in notes for line in note)]
        )


def run(config: AddConfig | ShowConfig | LeaderboardExportConfig) -> Standings:
    """Add, show or export. Raises InputError as `Leaderboard` does."""
    added = exported = None
    if isinstance(config, AddConfig):
        added = Leaderboard.add(config.store, config.name, ScoreFolder.open(config.scores)).name
    board = Leaderboard.open(config.store)
    standings = board.standings()
    if isinstance(config, LeaderboardExportConfig):
        exported = storage.absolute(config.file)
        output_file.replace_own(exported, *_exported(board, standings, config))
    notes = board_notes(standings)
    return Standings(
        store=board.folder, rule=board.rule, entries=standings, notes=notes, added=added, exported=exported
    )


def _exported(board: Leaderboard, standings: list[dict], config: LeaderboardExportConfig) -> tuple[bytes, str]:
    """Return the content of the file, and its line that says which leaderboard it shows, for `replace_own`.

    A CSV does not say; its header tells it from other tables.
    """
    extension = f".{config.file.rpartition('.')[2]}"
    if extension == ".html":
        made_of = f"leaderboard {board.folder}"
        return board_html(board, standings, origin_of("leaderboard export", config), made_of), made_of_line(made_of)
    if form := TABLES.get(extension):
        text = TABLE_FORMATS[form](board_table(board.rule, standings, board.folder)) + "\n"
    else:
        text = json.dumps({"store": board.folder, "rule": board.rule, "entries": standings}, indent=2) + "\n"
    lines = text.splitlines()
    return text.encode(), lines[0] if extension == ".csv" else next(line for line in lines if STORE_LINE.match(line))


def _table(entries: list[dict], metrics: tuple[str, ...]) -> list[str]:
    if not entries:
        return ["The leaderboard has no entries."]
    wide = min(NAME_COLUMNS, max(4, *(len(entry["name"]) for entry in entries)))
    heads = f"{metrics[0]:>7}  95 % interval   {'  '.join(f'{metric:>7}' for metric in metrics[1:])}"
    lines = [f"rank  {'name':<{wide}}  {heads}  {'p':>6}  group"]
    for entry in entries:
        overall, p = entry["overall"], entry["p_against_first"]
        ends = (overall.get("interval") or {}).get(metrics[0])
        interval = f"[{ends[0]:.3f}, {ends[1]:.3f}]" if ends else ""
        main, *others = ("      -" if (v := overall.get(name)) is None else f"{v:7.4f}" for name in metrics)
        p_text = "     -" if p is None else f"{p:6.4f}"
        lines.append(
            f"{entry['rank']:>4}  {_shorten(entry['name'], wide):<{wide}}  {main}  {interval:<14}  "
            f"{'  '.join(others)}  {p_text}  {' '.join(entry['groups'])}"
        )
    return [
        *lines,
        "",
        "p: how probable such a difference from the first entry, or a larger one, is",
        "   if both are equally good; corrected (Holm) for all comparisons of two",
        "group: entries that share a letter do not differ significantly",
    ]


def _shorten(name: str, wide: int) -> str:
    """Shorten a name in its middle: entries often differ at their ends, as by backbone."""
    return name if len(name) <= wide else f"{name[: wide // 2 - 1]}…{name[-(wide // 2) :]}"
