"""A leaderboard as a page and as a table."""

from collections.abc import Sequence

from pipeline.evaluation.protocols import PROTOCOLS, Protocol
from pipeline.evaluation.scoring.score_pairs import NOT_PREDICTED
from pipeline.evaluation.summary.intervals import METHOD, caution
from pipeline.evaluation.summary.leaderboard import RULE, Leaderboard
from pipeline.evaluation.summary.ranking import RANKING_METHOD
from pipeline.report.page import interval, interval_of, render
from pipeline.report.plots import PlotAxis, Whisker
from pipeline.report.score_tables import Measured, ScoreTable
from schemas.shown import without_secrets


def board_html(
    board: Leaderboard, standings: list[dict], origin: Sequence[tuple[str, str]], made_of: str = ""
) -> bytes:
    """Render one page, in the style of the reports.

    origin: how the page came about, as terms and texts. made_of: see `made_of_line`.
    """
    metrics = _metrics(board.protocol, standings)
    values = [entry["overall"].get(metrics[0]) for entry in standings]
    ends = [end for entry in standings for end in interval_of(entry["overall"], metrics[0])]
    known = [value for value in [*values, *ends] if value is not None]
    axis = PlotAxis(metrics[0], *((min(known) - 1e-3, max(known) + 1e-3) if known else (0.0, 1.0)))
    rule = {name: board.rule[name] for name in RULE}
    words = {name: ("yes" if value else "no") if isinstance(value, bool) else value for name, value in rule.items()}
    return render(
        "leaderboard.html.j2",
        made_of=made_of,
        title=f"Leaderboard: {board.protocol.name}",
        protocol=board.protocol,
        metrics=metrics,
        method=". ".join([METHOD, f"p against the first: {RANKING_METHOD}", *board_notes(standings)]),
        rule=[(name.replace("_", " "), str(value)) for name, value in words.items()],
        rows=[_row(entry, metrics, axis) for entry in standings],
        origin=origin,
    )


def board_table(rule: dict, standings: list[dict], store: str) -> ScoreTable:
    """Return the ranking of `store` as a table, with the rule by which the entries were scored in its notes."""
    metrics = _metrics(PROTOCOLS[rule["protocol"]], standings)
    rows = [
        [
            entry["rank"],
            entry["name"],
            *(Measured.of(entry["overall"], metric) for metric in metrics),
            _not_predicted(entry),
            entry["p_against_first"],
            " ".join(entry["groups"]),
        ]
        for entry in standings
    ]
    return ScoreTable(
        ["rank", "entry", *metrics, "not predicted", "p against the first", "group"],
        rows,
        [
            f"Leaderboard {without_secrets(store)}.",
            f"Protocol {rule['protocol']}, missing: {rule['missing_rule']}, truth {rule['truth_hash']}.",
            f"{METHOD}. p against the first: {RANKING_METHOD}. Entries that share a group cannot be told apart.",
            *board_notes(standings),
        ],
    )


def board_notes(standings: list[dict]) -> list[str]:
    """Return what the number of videos cannot show; nothing for one entry, or entries that do not record the number."""
    videos = [entry["overall"]["videos"] for entry in standings if "videos" in entry["overall"]]
    text = caution(min(videos)) if len(videos) > 1 else None
    return [text] if text else []


def _metrics(protocol: Protocol, standings: list[dict]) -> list[str]:
    """The main metric, then the others that some entry has."""
    main, *others = protocol.metrics
    return [main, *(name for name in others if any(entry["overall"].get(name) is not None for entry in standings))]


def _not_predicted(entry: dict) -> int:
    return sum(entry["pairs"].get(status, 0) for status in NOT_PREDICTED)


def _row(entry: dict, metrics: list[str], axis: PlotAxis) -> dict:
    main, *others = (entry["overall"].get(metric) for metric in metrics)
    low, high = interval_of(entry["overall"], metrics[0])
    return {
        "rank": entry["rank"],
        "name": entry["name"],
        "main": main,
        "interval": interval((low, high)),
        "whisker": None if main is None else Whisker(main, low, high, axis),
        "others": others,
        "not_predicted": _not_predicted(entry),
        "p": entry["p_against_first"],
        "groups": " ".join(entry["groups"]),
        "added": entry["added"][:10],
        "provenance": [
            ("added", entry["added"]),
            ("run", entry["run_fingerprint"] or "not a run of rvos"),
            ("predictions", entry["predictions_hash"]),
            ("pairs", ", ".join(f"{count} {status}" for status, count in entry["pairs"].items() if count)),
            ("frames", ", ".join(f"{count} {status}" for status, count in entry["frames"].items())),
            ("rvos", entry["version"]),
        ],
    }
