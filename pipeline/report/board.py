"""A leaderboard as a page and as a Markdown table."""

import html
import re

from pipeline.evaluation.summary.leaderboard import RULE, Leaderboard
from pipeline.report.page import interval, number, render
from pipeline.report.plots import Axis, Whisker

LOST = ("failed", "missing", "misshaped")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~-])")


def board_html(board: Leaderboard, standings: list[dict]) -> bytes:
    """One page, in the form of the reports."""
    metrics = _metrics(board, standings)
    axis = _axis(standings, metrics[0])
    return render(
        "leaderboard.html.j2",
        title="Leaderboard",
        protocol=board.protocol,
        metrics=metrics,
        rule=[(name.replace("_", " "), _word(board.rule[name])) for name in RULE],
        rows=[_row(entry, metrics, axis) for entry in standings],
    )


def board_markdown(board: Leaderboard, standings: list[dict]) -> bytes:
    """A table, and below it what was scored."""
    metrics = _metrics(board, standings)
    head = ["rank", "entry", metrics[0], "95 % interval", *metrics[1:], "not predicted", "p against the first"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for entry in standings:
        overall = entry["overall"]
        ends = (overall.get("interval") or {}).get(metrics[0])
        cells = [str(entry["rank"]), _escape(entry["name"]), number(overall.get(metrics[0])), interval(ends)]
        cells += [number(overall.get(metric)) for metric in metrics[1:]]
        lines.append(f"| {' | '.join([*cells, str(_lost(entry)), number(entry['p_against_first'])])} |")
    rule = board.rule
    lines += [
        "",
        f"Protocol {rule['protocol']}, missing: {rule['missing_rule']}, truth `{rule['truth_hash']}`. "
        "Intervals by bootstrap over videos; p by permutation of videos, Holm's correction.",
    ]
    return ("\n".join(lines) + "\n").encode()


def _metrics(board: Leaderboard, standings: list[dict]) -> list[str]:
    """Those that any entry has, the main one first."""
    first, *others = board.protocol.metrics
    return [first, *(name for name in others if any(entry["overall"].get(name) is not None for entry in standings))]


def _word(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _axis(standings: list[dict], metric: str) -> Axis:
    """Wide enough for all values and intervals."""
    values = [entry["overall"].get(metric) for entry in standings]
    ends = [(entry["overall"].get("interval") or {}).get(metric) or () for entry in standings]
    known = [value for value in [*values, *(end for both in ends for end in both)] if value is not None]
    return Axis(metric, *((min(known) - 1e-3, max(known) + 1e-3) if known else (0.0, 1.0)))


def _row(entry: dict, metrics: list[str], axis: Axis) -> dict:
    overall = entry["overall"]
    main, ends = overall.get(metrics[0]), (overall.get("interval") or {}).get(metrics[0])
    return {
        "rank": entry["rank"],
        "name": entry["name"],
        "main": main,
        "interval": interval(ends),
        "whisker": None if main is None else Whisker(main, *_pair(ends), axis),
        "others": [overall.get(metric) for metric in metrics[1:]],
        "lost": _lost(entry),
        "p": entry["p_against_first"],
        "added": entry["added"][:10],
        "provenance": [
            ("added", entry["added"]),
            ("run", entry["run_fingerprint"] or "not a run of rvos"),
            ("predictions", entry["predictions_hash"]),
            ("pairs", ", ".join(f"{count} {kind}" for kind, count in entry["pairs"].items() if count)),
            ("frames", ", ".join(f"{count} {kind}" for kind, count in entry["frames"].items())),
            ("rvos", entry["version"]),
        ],
    }


def _pair(ends: list[float] | None) -> tuple[float | None, float | None]:
    return (None, None) if ends is None else (ends[0], ends[1])


def _lost(entry: dict) -> int:
    return sum(entry["pairs"].get(status, 0) for status in LOST)


def _escape(text: str) -> str:
    """Neither Markdown nor HTML of its own."""
    return _MARKDOWN.sub(r"\\\1", html.escape(text, quote=False))
