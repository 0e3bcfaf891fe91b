"""Find evaluations that nobody can have meant: nothing annotated or predicted, or no frame in common."""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from schemas.errors import ImplausibleError
from schemas.pair import PairKey

FACTS = (  # columns of RESULT
    "video_id",
    "expression_id",
    "object_id",
    "status",
    "frames",
    "missing_frames",
    "has_target",
    "truth_pixels",
    "predicted_pixels",
    "frame_mismatch",
    "error",
)
LEAST_PIXELS = 100  # of all objects together; smaller ones may well be missed
FORCE = "correct it, or score it as it is with --force"


@dataclass(slots=True)
class Plausibility:
    """Facts about all scored pairs, added task by task."""

    has_void: bool  # whether the annotations have void pixels that are not scored
    pairs: int = 0  # with an annotated frame
    missing: int = 0  # those that are not predicted
    first_pair: str = ""
    error: str = ""  # why the first pair that is not predicted is not
    with_target: int = 0  # pairs that are about an object and have a scored frame
    with_truth: int = 0  # those whose object is in a scored frame
    predicted: int = 0  # those that have a prediction of a scored frame
    truth_pixels: int = 0
    with_prediction: int = 0  # those with a predicted pixel
    example: str = ""  # the first pair with a target
    no_common_frame: str = ""  # the first pair none of whose predicted frames is annotated

    def watch(self, results: Iterable[pa.Table]) -> Iterable[pa.Table]:
        """Pass on tables of RESULT."""
        for table in results:
            for row in table.select(list(FACTS)).to_pylist():
                self._add(row)
            yield table

    def _add(self, row: dict) -> None:
        pair = str(PairKey(row["video_id"], row["expression_id"] or row["object_id"] or ""))
        if row["frame_mismatch"] and not self.no_common_frame:
            self.no_common_frame = f"{pair}: {row['frame_mismatch']}"
        if row["status"] != "unannotated":
            self.first_pair = self.first_pair or pair
            self.pairs += 1
            self.missing += row["status"] == "missing"
            self.error = self.error or (row["error"] or "" if row["status"] == "missing" else "")
        if not row["frames"] or not row["has_target"]:
            return
        self.example = self.example or pair
        self.with_target += 1
        self.with_truth += row["truth_pixels"] > 0
        self.truth_pixels += row["truth_pixels"]
        self.predicted += row["missing_frames"] < row["frames"] and row["status"] == "scored"
        self.with_prediction += row["predicted_pixels"] > 0

    def problems(self, predicted: str) -> list[str]:
        """Return what is hardly meant. `predicted`: an example of what is predicted but not requested, or empty."""
        found = []
        if self.pairs and self.missing == self.pairs:
            other = self.error or (f"predicted: {predicted}" if predicted else "the predictions hold no masks")
            found.append(f"no requested pair is predicted; requested: {self.first_pair}; {other}")
        if self.no_common_frame:
            found.append(self.no_common_frame)
        if self.with_target and not self.with_truth and self.has_void:
            text = "the annotations show no object in any scored frame, only background and void"
            found.append(f"{text}; pairs that should have one: {self.with_target}, the first is {self.example}")
        elif self.truth_pixels >= LEAST_PIXELS and self.predicted and not self.with_prediction:
            those = "1 pair has" if self.with_truth == 1 else f"{self.with_truth} pairs have"
            text = f"the predictions are empty in every frame, although {those} an object"
            found.append(f"{text}; the first is {self.example}")
        return found

    def require(self, predicted: str, *, force: bool) -> list[str]:
        """Return the problems as notes if `force`. Raises ImplausibleError otherwise, if there is any."""
        problems = self.problems(predicted)
        if problems and not force:
            raise ImplausibleError("\n".join([*problems, FORCE]))
        return problems
