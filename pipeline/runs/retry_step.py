"""The rule that says how a unit is tried again after its process died. It reads the history of `attempts`.

The ladder: the unit twice, then each of its pairs twice on its own, then an error row for a pair that died twice.
Between the two, a process must survive a control: the model at work on an empty picture. Its marker lies with those of
the unit, so whatever picks processes by their markers picks it too. Deaths during controls show that something else
kills processes; each raises the number of deaths that a verdict needs, and doubles the pause before the next control.
So each of them allows an attempt without control.

Where another place (a node, or one of its GPUs) can try, a pair that died in one place alone is not blamed: its unit
moves to another place, and the next death there is the verdict. On the last turn, and with a single place, deaths in
one place suffice.

If the driver or the node died too, the unit may be the cause or not. Such units come last, then alone, then pair by
pair. A pair whose node died twice with it gets no error row: the command refuses it, and names the hosts.
"""

from collections import Counter
from dataclasses import dataclass, field

from pipeline.runs.attempts import History, Marker, Place
from schemas.pair import PairKey

MAX_DEATHS = 2  # of a unit, and then of a pair
CONTROL_SECONDS = 60.0  # that a control takes
NEXT_CONTROL_SECONDS = 10.0  # in a unit that has a pair with a verdict
PAUSE_SECONDS = 4.0  # before the second control; doubled after each death in one
MAX_CONTROL_DEATHS = 5  # at one unit on one host
LAST_TURN = 2  # of `RetryStep.turn`


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryStep:
    """The next attempt at a unit: as a whole, or pair by pair without the pairs that failed.

    `turn`: 0, 1 after all other units, 2 also on an otherwise idle cluster. `exclusive`: with no other attempt in
    flight in the process, so that a death shows who caused it.
    """

    turn: int = 0
    pair_by_pair: bool = False
    exclusive: bool = False
    failed_pairs: dict[PairKey, tuple[str, str]] = field(default_factory=dict)  # pair -> status, error
    after_control: frozenset[PairKey] = frozenset()  # pairs whose next death is a verdict: a control comes before
    control_seconds: float = CONTROL_SECONDS
    pause_seconds: float = 0.0  # before the control
    moves_from: frozenset[Place] = frozenset()  # where a pair would be blamed if no other place could try it
    refused: str | None = None  # why the unit cannot be tried again


def next_retry_step(history: History, *, others_can_try: bool = False) -> RetryStep:
    """Return the step of the ladder after this history of one unit.

    others_can_try: a verdict needs deaths in two places.
    """
    deaths, lost, controls = history.deaths, history.lost, len(history.controls)
    turn = min(2, max(len(lost), int(history.is_busy)))
    if sum(marker.pair is None for marker in deaths + lost) < MAX_DEATHS:
        return RetryStep(turn=turn, exclusive=bool(deaths or lost))
    counts = Counter(marker.pair for marker in deaths)
    failed, died, moves_from = {}, set(), set()
    for marker in deaths:
        pair = marker.pair
        if pair is None:
            continue
        needed = MAX_DEATHS if marker.timed_out else MAX_DEATHS + controls
        places = {each.place: each.host for each in deaths if each.pair == pair}
        has_moved = len(places) > 1 or not others_can_try
        if counts[pair] >= needed and not has_moved:
            moves_from.add(marker.place)
        if marker.timed_out and counts[pair] >= needed and has_moved:
            error = f"timed out after {marker.timeout:g} s even on its own; raise --unit-timeout or replace the video"
            failed[pair] = "timeout", error
        elif counts[pair] >= MAX_DEATHS + controls and has_moved:
            cause = f": {marker.reason}" if marker.reason else ""
            where = "; ".join(
                f"node {node}, host {host}{f', GPU {gpu}' if gpu else ''}" for (node, gpu), host in places.items()
            )
            error = f"its process died {counts[pair]} times on it alone ({where}{cause}); replace the video"
            failed[pair] = "crash", error
        elif not marker.timed_out and counts[pair] + 1 >= MAX_DEATHS + controls:
            died.add(pair)
    return RetryStep(
        turn=turn,
        pair_by_pair=True,
        exclusive=True,
        failed_pairs=failed,
        after_control=frozenset(died - failed.keys()),
        control_seconds=NEXT_CONTROL_SECONDS if failed else CONTROL_SECONDS,
        pause_seconds=PAUSE_SECONDS * 2 ** (controls - 1) if controls else 0.0,
        moves_from=frozenset(moves_from),
        refused=_refusal(lost),
    )


def _refusal(lost: list[Marker]) -> str | None:
    for pair, count in Counter(marker.pair for marker in lost if marker.pair).items():
        if count >= MAX_DEATHS:
            hosts = ", ".join(sorted({f"{marker.host} (node {marker.node})" for marker in lost if marker.pair == pair}))
            return f"{pair}: its driver or node ended {count} times while it was segmented alone, on {hosts}"
    return None
