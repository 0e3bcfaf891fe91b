"""`rvos leaderboard`: add scores to a ranking that many can write to, show it, export it."""

import json
from dataclasses import asdict, dataclass

from jobs.config.leaderboard import AddConfig, LeaderboardExportConfig, ShowConfig
from jobs.terminal.tables import short
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.summary.leaderboard import Leaderboard
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.io import storage
from pipeline.report.board import board_html, board_markdown

WIDE = 23  # columns of a name
HASH = 19  # characters of a hash that are shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Standings:
    """The leaderboard. `entries`: the best first, as `Leaderboard.standings` gives them."""

    store: str
    rule: dict
    entries: list[dict]
    added: str | None = None  # the entry that was added just now
    exported: str | None = None

    def to_json(self) -> dict:
        return {name: value for name, value in asdict(self).items() if value is not None}

    def text(self) -> str:
        protocol = PROTOCOLS[self.rule["protocol"]]
        lines = [
            f"leaderboard  {self.store}",
            f"protocol     {protocol.name}: {protocol.title}",
            f"truth        {short(self.rule['truth_hash'], HASH)}, missing: {self.rule['missing_rule']}",
        ]
        if self.added is not None:
            lines.append(f"added        {self.added}")
        if self.exported is not None:
            lines.append(f"exported     {self.exported}")
        return "\n".join([*lines, "", *_table(self.entries, protocol.shown)])


def run(config: AddConfig | ShowConfig | LeaderboardExportConfig) -> Standings:
    """Do it. Raises InputError as `Leaderboard` does."""
    added = exported = None
    if isinstance(config, AddConfig):
        added = Leaderboard.add(config.store, config.name, ScoreFolder.open(config.scores)).name
    board = Leaderboard.open(config.store)
    standings = board.standings()
    if isinstance(config, LeaderboardExportConfig):
        exported = storage.absolute(config.file)
        storage.write_bytes(exported, _export(board, standings, exported))
    return Standings(store=board.folder, rule=board.rule, entries=standings, added=added, exported=exported)


def _export(board: Leaderboard, standings: list[dict], file: str) -> bytes:
    if file.endswith(".json"):
        return (json.dumps({"rule": board.rule, "entries": standings}, indent=2) + "\n").encode()
    return (board_html if file.endswith(".html") else board_markdown)(board, standings)


def _table(entries: list[dict], metrics: tuple[str, ...]) -> list[str]:
    if not entries:
        return ["There is no entry."]
    wide = min(WIDE, max(4, *(len(entry["name"]) for entry in entries)))
    heads = f"{metrics[0]:>7}  95 % interval   {'  '.join(f'{metric:>7}' for metric in metrics[1:])}"
    lines = [f"rank  {'name':<{wide}}  {heads}  {'p':>6}"]
    for entry in entries:
        overall = entry["overall"]
        ends = (overall.get("interval") or {}).get(metrics[0])
        interval = f"[{ends[0]:.3f}, {ends[1]:.3f}]" if ends else ""
        others = "  ".join(_number(overall.get(metric)) for metric in metrics[1:])
        chance = entry["p_against_first"]
        p = "     -" if chance is None else f"{chance:6.4f}"
        lines.append(
            f"{entry['rank']:>4}  {short(entry['name'], wide):<{wide}}  {_number(overall.get(metrics[0]))}  "
            f"{interval:<14}  {others}  {p}"
        )
    return [*lines, "", "p: how often chance alone would set it so far apart from the first (Holm)"]


def _number(value: float | None) -> str:
    return f"{'-':>7}" if value is None else f"{value:7.4f}"
