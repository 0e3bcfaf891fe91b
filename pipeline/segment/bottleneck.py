"""What bounds a run, told from the receipts of its units: where its actors' time went, and what would help."""

from collections.abc import Mapping
from dataclasses import dataclass

LOSS = 0.2  # of the actors' time; smaller ones are not worth a change


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """`shares` of the actors' time: at the model, `waiting` for frames, `blocked` by masks that were not taken from it
    yet, and `idle`: without a unit, or not there yet. `by` is the share to look at, `text` one sentence.
    """

    by: str
    shares: dict[str, float]
    text: str


def bound(stages: Mapping[str, float], wall_seconds: float, actors: int, gpus: bool) -> Bottleneck:
    """From the seconds of each stage, summed over units, and those from the first unit's start to the last commit."""
    parts = {name: stages[name] for name in ("model", "waiting", "blocked")}
    total = max(wall_seconds * actors, sum(parts.values())) or 1.0
    shares = {name: seconds / total for name, seconds in parts.items()}
    shares["idle"] = max(0.0, 1 - sum(shares.values()))
    worst = max(("waiting", "blocked", "idle"), key=lambda name: shares[name])
    by = worst if shares[worst] >= LOSS else "model"
    text = f"{_reason(by, stages, gpus).format(share=f'{shares[by]:.0%}')}"
    return Bottleneck(by, {name: round(share, 4) for name, share in shares.items()}, text)


def _reason(by: str, stages: Mapping[str, float], gpus: bool) -> str:
    more_threads = (
        "--gpus-per-actor 0.5 puts two actors on a GPU, each with threads of its own"
        if gpus
        else "more actors (--actors) have more such threads"
    )
    if by == "model":
        return f"the model, {{share}} of the actors' time; more or faster {'GPUs' if gpus else 'CPUs'} would help"
    if by == "waiting" and stages["decode"] < stages["waiting"] / 2:
        return "starting units: the model waited {share} of the time; larger units (--unit-frames) would help"
    if by == "waiting":
        return f"decoding: the model waited for frames {{share}} of the time; {more_threads}"
    if by == "blocked":
        slower = "encoding" if stages["encode"] > stages["write"] else "writing"
        return f"{slower}: the model waited {{share}} of the time for its masks to be taken; {more_threads}"
    return "too little work: {share} of the actors' time was without; fewer actors, or smaller units (--unit-frames)"
