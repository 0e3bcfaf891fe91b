"""Counters of one actor, which Ray exports for Prometheus as ray_<name>_total. They count once per unit."""

from ray.util.metrics import Counter

from pipeline.runs.commit import Receipt

COUNTERS = {
    "rvos_pairs": "pairs that were committed, with masks or as error rows",
    "rvos_failed_pairs": "pairs that became error rows, by status",
    "rvos_frames": "masks that were committed",
    "rvos_decode_wait_seconds": "seconds in which a model had no frames, since they were not decoded yet",
}


class ActorMetrics:
    """The counters of an actor. Their tag `run` is the last part of the run's path."""

    def __init__(self, run: str) -> None:
        self._tags = {"run": run}
        self._counters = {
            name: Counter(name, about, ("run", "status") if name == "rvos_failed_pairs" else ("run",))
            for name, about in COUNTERS.items()
        }

    def add(self, receipt: Receipt) -> None:
        """Count a unit that this actor has committed, without the rows that it has copied from an earlier one."""
        self._inc("rvos_pairs", receipt.pairs - receipt.kept_pairs)
        self._inc("rvos_frames", receipt.frames - receipt.kept_frames)
        self._inc("rvos_decode_wait_seconds", receipt.seconds["waiting"])
        for status, pairs in receipt.failed.items():
            self._inc("rvos_failed_pairs", pairs, status=status)

    def _inc(self, name: str, value: float, **tags: str) -> None:
        if value > 0:  # Ray refuses 0
            self._counters[name].inc(value, self._tags | tags)
