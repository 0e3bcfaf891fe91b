"""Find what limits the speed of a run, from the timings in its receipts, and what would help."""

from collections.abc import Mapping
from dataclasses import dataclass

MIN_LOSS = 0.2  # of the actors' time; a smaller one is not worth a change


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """`shares` of the actors' time: in the `model`; `waiting` for frames; `blocked` until masks were taken; `idle`
    without a unit. `by` names the share to look at, `text` explains it in one sentence.
    """

    by: str
    shares: dict[str, float]
    text: str


def find_bottleneck(
    stages: Mapping[str, float], wall_seconds: float, actors: int, gpus: bool, unit_frames: str = "--unit-frames"
) -> Bottleneck:
    """Compare the shares of the actors' time.

    stages: seconds of each, summed over units; wall_seconds: from the start of the first unit to the last commit.
    unit_frames: what sets the size of units, for the advice.
    """
    busy = {name: stages[name] for name in ("model", "waiting", "blocked")}
    total = max(wall_seconds * actors, sum(busy.values())) or 1.0
    shares = {name: seconds / total for name, seconds in busy.items()}
    shares["idle"] = max(0.0, 1 - sum(shares.values()))
    worst = max(("waiting", "blocked", "idle"), key=lambda name: shares[name])
    by = worst if shares[worst] >= MIN_LOSS else "model"
    share = f"{shares[by]:.0%}"
    more_threads = (
        "--gpus-per-actor 0.5 puts two actors on a GPU, each with its own threads"
        if gpus
        else "more actors (--actors) have more such threads"
    )
    match by:
        case "model":
            text = f"the model, {share} of the actors' time; more or faster {'GPUs' if gpus else 'CPUs'} would help"
        case "waiting" if stages["decode"] < stages["waiting"] / 2:
            text = f"starting units: the model waited {share} of the time; larger units ({unit_frames}) would help"
        case "waiting":
            text = f"decoding: the model waited for frames {share} of the time; {more_threads}"
        case "blocked":
            slower = "encoding" if stages["encode"] > stages["write"] else "writing"
            text = f"{slower}: the model waited {share} of the time until its masks were taken; {more_threads}"
        case _:
            text = (
                f"too little work: actors were idle {share} of the time; use fewer actors (--actors) or smaller units "
                f"({unit_frames})"
            )
    return Bottleneck(by, {name: round(share, 4) for name, share in shares.items()}, text)
