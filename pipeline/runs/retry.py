"""Find committed units to make again: those with failed pairs, and those that cannot be read."""

from collections.abc import Iterator
from dataclasses import replace

from pipeline.io.parallel import bounded_map
from pipeline.runs.commit import Receipt, damage_of
from pipeline.runs.run import RECEIPT_READERS, Run, Unit


def to_retry(
    run: Run, units: list[Unit], committed: set[str], retry_statuses: tuple[str, ...]
) -> Iterator[tuple[Unit, Receipt]]:
    """Yield the next generation of each committed unit with pairs of these statuses, and its present receipt."""
    if not retry_statuses:
        return
    done = [unit for unit in units if unit.unit_id in committed]
    for unit, receipt in zip(done, run.receipts(unit.unit_id for unit in done), strict=True):
        if not receipt.failed.keys().isdisjoint(retry_statuses):
            yield replace(unit, generation=receipt.generation + 1), receipt


def to_repair(run: Run, units: list[Unit], committed: set[str]) -> list[Unit]:
    """Return the committed units whose file is damaged."""
    done = [unit for unit in units if unit.unit_id in committed]
    damage = bounded_map(lambda unit: damage_of(run.masks_uri(unit.unit_id)), done, RECEIPT_READERS)
    return [replace(unit, repair=True) for unit, reason in zip(done, damage, strict=True) if reason]
