"""Score everything: one predictions table at a time, each with the annotations of its videos only."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.pairs import Pair
from pipeline.evaluation.predictions import LabelMaps, ParquetPredictions
from pipeline.evaluation.scoring import PairScore, score_pairs
from pipeline.evaluation.truth import Truth
from schemas.errors import InputError, pair_message

LISTED_PROBLEMS = 20

Key = tuple[str, str]  # as Pair.key


@dataclass(frozen=True, slots=True)
class PairResult:
    """What became of one pair. `row` is its place in the manifest.

    status: scored; failed or missing, which count as zero; or unannotated, which does not count.
    """

    pair: Pair
    row: int
    status: str
    error: str | None = None
    score: PairScore | None = None

    @property
    def means(self) -> tuple[float, float]:
        """Mean J and mean F over the frames that count."""
        return (0.0, 0.0) if self.score is None else (float(self.score.j.mean()), float(self.score.f.mean()))


def gather(
    source: ParquetPredictions | LabelMaps, pairs: Sequence[Pair], truth: Truth
) -> tuple[list[PairResult], list[Key]]:
    """The results of all pairs, by id, and the pairs that are predicted but not among them.

    Neither depends on the order of pairs or tables. Raises InputError, listing what is wrong, if masks are broken or
    do not fit each other.
    """
    asked = {pair.key: pair for pair in pairs if pair.is_annotated(truth)}
    scores: dict[Key, PairScore] = {}
    failed: dict[Key, str] = {}
    seen_in: dict[Key, str] = {}
    problems: list[str] = []
    for name, table in source.tables(asked.values()):
        keys = _keys(table)
        for key in keys:
            if seen_in.setdefault(key, name) != name:
                text = f"predicted in {seen_in[key]} and in {name}; write each pair into one table, once"
                problems.append(pair_message(*key, text))
        failed |= _failed(table)
        due = [asked[key] for key in keys if key in asked and key not in failed]
        if due:
            found, wrong = score_pairs(due, table, truth)
            scores |= {score.pair.key: score for score in found}
            problems += wrong
    if problems:
        more = f"\n... and {len(problems) - LISTED_PROBLEMS} more" if len(problems) > LISTED_PROBLEMS else ""
        raise InputError("\n".join(sorted(problems)[:LISTED_PROBLEMS]) + more)
    results = [_result(pair, row, pair.key in asked, scores, failed) for row, pair in enumerate(pairs)]
    results.sort(key=lambda result: result.pair.key)
    return results, sorted(set(seen_in) - {pair.key for pair in pairs})


def _result(pair: Pair, row: int, annotated: bool, scores: dict[Key, PairScore], failed: dict[Key, str]) -> PairResult:
    score = scores.get(pair.key)
    if not annotated or (score is not None and not len(score.j)):
        return PairResult(pair, row, "unannotated")
    if pair.key in failed:
        return PairResult(pair, row, "failed", error=failed[pair.key])
    if score is None:
        return PairResult(pair, row, "missing")
    return PairResult(pair, row, "scored", score=score)


def _keys(table: pa.Table) -> list[Key]:
    pairs = table.group_by(["video_id", "expression_id"]).aggregate([]).to_pylist()
    return sorted((pair["video_id"], pair["expression_id"]) for pair in pairs)


def _failed(table: pa.Table) -> dict[Key, str]:
    """The pairs that failed, with the reason: a row without a frame, or with another status than ok."""
    rows = pc.is_null(table["frame_index"])
    if "status" in table.column_names:
        rows = pc.or_(rows, pc.fill_null(pc.not_equal(table["status"], "ok"), False))
    return {
        (
            row["video_id"],
            row["expression_id"],
        ): f"{row.get('status') or 'failed'}: {row.get('error') or 'no reason given'}"
        for row in table.filter(rows).drop_columns(["counts"]).to_pylist()
    }
