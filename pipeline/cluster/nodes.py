"""The nodes of a Ray cluster, and what a command that needs them waits for."""

from collections.abc import Iterable, Mapping

from schemas.errors import InfrastructureError


def alive_nodes(nodes: Iterable[Mapping]) -> dict[str, Mapping]:
    """Return the living nodes of `ray.nodes()` by id. Raises InfrastructureError if there is none: nothing can come."""
    alive = {node["NodeID"]: node for node in nodes if node["Alive"]}
    if not alive:
        raise InfrastructureError("the cluster has no node any more; start it and repeat the command")
    return alive


def missing(alive: Mapping[str, Mapping], kind: str, wanted: int = 1) -> str | None:
    """Say that the nodes have fewer than `wanted` of a resource, "GPU" or "CPU"; None if they have them."""
    found = sum(node["Resources"].get(kind, 0) for node in alive.values())
    if found >= wanted:
        return None
    if not found:
        return f"no node of the cluster has a {kind}; waiting for {'one' if wanted == 1 else wanted}"
    return f"the nodes of the cluster have {found:g} of {wanted} {kind}s; waiting for the others"
