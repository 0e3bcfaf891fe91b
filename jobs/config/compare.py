"""Options of `rvos compare`."""

from jobs.config.evaluate import check_groupings
from jobs.config.options import argument, command_config, option, table_format
from schemas import kinds
from schemas.errors import InputError


@command_config
class CompareConfig:
    """Compare scores with those of a baseline.

    SCORES are folders written by 'rvos evaluate --out', the baseline first. Prints the means of the protocol, the
    change with its 95 % interval and p-value (computed over videos), the smallest change that a set of this size
    detects with 80 % power, and the pairs that changed most. Intervals need at least five videos. With several
    comparisons or groups, p is given with and without Holm's correction.

        rvos compare scores/baseline scores/new --by object_size:q4
        rvos compare scores/baseline scores/new --format latex > table.tex
    """

    scores: tuple[str, ...] = argument(metavar="SCORES SCORES...", takes=kinds.SCORES)
    metric: str | None = option(default=None, help="Metric to compare.  [default: the protocol's first]")
    by: tuple[str, ...] = option(
        default=(),
        metavar="ATTRIBUTE",
        help="Also compare within groups, as in 'rvos evaluate --by'. Repeatable.",
    )
    print_as: str | None = table_format()

    def __post_init__(self) -> None:
        if len(self.scores) < 2:
            raise InputError("got one folder of scores; give at least two, the baseline first")
        check_groupings(self.by)
