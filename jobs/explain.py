"""`rvos evaluate --explain PROTOCOL`."""

from pipeline.evaluation.protocols import PROTOCOLS


def explain(name: str) -> str:
    """What the protocol `name` does, in words; see `pipeline.evaluation.protocols`."""
    return PROTOCOLS[name].explain()
