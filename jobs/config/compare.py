"""Options of `rvos compare`."""

from jobs.config.evaluate import check_attributes
from jobs.config.options import argument, command_config, option
from schemas.errors import InputError


@command_config
class CompareConfig:
    """Hold the scores in B (and C ...) against those in A, folders that 'rvos evaluate --out' wrote.

    Pair by pair: the mean change with its interval, a permutation test by video, the smallest change that the set can
    show, Holm's correction over groups, and the pairs that changed most.

    \b
    rvos compare scores/baseline scores/new --by object_size:q4
    """

    scores: tuple[str, ...] = argument(metavar="A B [C ...]", is_path=True)
    metric: str | None = option(default=None, help="Metric to compare.  [default: the first of the protocol]")
    by: tuple[str, ...] = option(
        default=(), metavar="ATTRIBUTE", help="Compare within groups too; forms as for 'rvos evaluate'."
    )

    def __post_init__(self) -> None:
        if len(self.scores) < 2:
            raise InputError(
                "compare needs two folders of scores or more; the first is what the others are held against"
            )
        check_attributes(self.by)
