"""Where the units of a command can be segmented: which nodes and GPUs cannot work, and which others can."""

import time
from collections.abc import Collection
from dataclasses import dataclass, field

import ray

from pipeline.runs.attempts import Place
from pipeline.runs.run import Unit
from pipeline.segment.actor import UnitAnswer
from schemas.errors import InfrastructureError, InputError

FREE_SECONDS = 20.0  # until Ray counts the places of a pool that has ended as free


@dataclass
class Places:
    """The nodes, or GPUs, of one command: those that have read videos, and those that cannot work, with the reason.

    A node without a GPU in its `Place` stands for all of it.
    """

    gpus_per_actor: float = 0.0
    bad: dict[Place, UnitAnswer] = field(default_factory=dict)  # why they cannot work
    _suspects: dict[str, UnitAnswer] = field(default_factory=dict)  # nodes that found no video of a unit
    _failed_in: dict[str, Place] = field(default_factory=dict)  # unit -> the last place, or node, where a pair failed
    _seen: set[Place] = field(default_factory=set)  # that have answered
    _readers: set[Place] = field(default_factory=set)  # that have segmented something

    def note(self, answer: UnitAnswer) -> None:
        """Learn from an answer. Raises InfrastructureError or InputError if no place is left that can work."""
        self._seen.add(answer.place)
        if answer.receipt and answer.frames:
            self._readers.add(answer.place)
        if answer.moves:
            self._failed_in[answer.unit_id] = answer.place
        if answer.absent and not answer.blind:
            self._failed_in[answer.unit_id] = Place(answer.node)  # all its GPUs see the same files
        if answer.blind:
            self._suspects.setdefault(answer.node, answer)
        if answer.failed and answer.place not in self.bad:
            self.bad[answer.place] = answer
            if not self._room_without(set(self.bad)):
                self.give_up(answer)

    def give_up(self, answer: UnitAnswer) -> None:
        """Raise the error of an answer of a place that cannot work."""
        raise (InputError if answer.exit_code == InputError.exit_code else InfrastructureError)(answer.reason)

    def end_turn(self) -> None:
        """Leave out the nodes that found no video, if others did."""
        readers = {place.node for place in self._readers}
        if readers:
            self.bad |= {Place(node): found for node, found in self._suspects.items() if node not in readers}

    def divide(self, units: list[Unit]) -> list[tuple[set[Place], list[Unit]]]:
        """Divide units into those of one pass, each with places to avoid, so that none returns to where it failed.

        If some places have read videos and no unit failed there, or others are free that have not answered yet, they
        get all units. Otherwise one half of the places gets the units of the other half.
        """
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        doubtful = set(self._failed_in.values())
        able = {place for place in self._seen if place.node in alive and not _is_among(place, self.bad)}
        trusted = {place for place in able if not _is_among(place, doubtful)}
        if not doubtful or trusted & self._readers:
            return [(doubtful, units)]
        if not trusted and self._others_are_free(doubtful):
            return [(doubtful, units)]
        if len(able) < 2:
            return [(set(), units)]
        nodes = sorted({place.node for place in able})
        chosen = {place for place in able if place.node in nodes[::2]} if len(nodes) > 1 else set(sorted(able)[::2])
        here = {unit.unit_id for unit in units if self._failed_among(unit, chosen)}
        from_chosen = [unit for unit in units if unit.unit_id in here]
        others = [unit for unit in units if unit.unit_id not in here]
        return [(places, part) for places, part in ((chosen, from_chosen), (able - chosen, others)) if part]

    def _failed_among(self, unit: Unit, places: set[Place]) -> bool:
        failed_in = self._failed_in.get(unit.unit_id)
        return failed_in is not None and any(_is_among(place, {failed_in}) for place in places)

    def label_selector(self, avoided: set[Place]) -> dict[str, str] | None:
        """Ray's condition for the nodes of actors: none that is bad or avoided as a whole."""
        left_out = self.bad.keys() | avoided
        nodes = sorted({place.node for place in left_out if not self._room_on(place.node, left_out)})
        return {"ray.io/node-id": f"!in({','.join(nodes)})"} if nodes else None

    def gpus_to_hold(self, avoided: set[Place]) -> set[Place]:
        """Return the GPUs that are bad or avoided, of nodes with other GPUs."""
        left_out = self.bad.keys() | avoided
        return {place for place in left_out if place.gpu and self._room_on(place.node, left_out)}

    def _room_on(self, node: str, left_out: set[Place]) -> float:
        """GPUs, or CPUs, of a living node for actors; 0 if not even one fits."""
        resources = next(
            (found["Resources"] for found in ray.nodes() if found["NodeID"] == node and found["Alive"]), {}
        )
        if Place(node) in left_out:
            return 0.0
        if not self.gpus_per_actor:
            return resources.get("CPU", 0.0)
        room = resources.get("GPU", 0.0) - len({place for place in left_out if place.node == node})
        return room if room >= self.gpus_per_actor else 0.0

    def _room_without(self, left_out: set[Place]) -> float:
        return sum(self._room_on(node["NodeID"], left_out) for node in ray.nodes())

    def _others_are_free(self, doubtful: set[Place]) -> bool:
        """True if an actor can start at once in a place that is neither bad nor doubtful.

        Other users of the cluster may have the others: a unit does not wait for these.
        """
        left_out = self.bad.keys() | doubtful
        occupied = self._room_without(set()) - self._room_without(left_out)
        if not self._room_without(left_out):
            return False
        kind, share = ("GPU", self.gpus_per_actor) if self.gpus_per_actor else ("CPU", 1.0)
        deadline = time.monotonic() + FREE_SECONDS
        while ray.available_resources().get(kind, 0.0) < occupied + share:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True


def _is_among(place: Place, places: Collection[Place]) -> bool:
    """Return True if `places` has this place or the whole of its node."""
    return place in places or Place(place.node) in places
