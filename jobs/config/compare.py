"""Options of `rvos compare`."""

from jobs.config.evaluate import check_groupings
from jobs.config.options import argument, command_config, option
from schemas.errors import InputError


@command_config
class CompareConfig:
    """Compare scores with those of a baseline.

    A is the baseline; each argument is a folder written by 'rvos evaluate --out'. Pairs are compared one by one: mean
    change with its interval, permutation test by video, smallest change that this set can detect, Holm's correction
    over groups, and the pairs that changed most.

        rvos compare scores/baseline scores/new --by object_size:q4
    """

    scores: tuple[str, ...] = argument(metavar="A B [C ...]", is_path=True)
    metric: str | None = option(default=None, help="Metric to compare.  [default: the protocol's first]")
    by: tuple[str, ...] = option(
        default=(),
        metavar="ATTRIBUTE",
        help="Also compare within groups, in the forms of 'rvos evaluate --by'; repeatable.",
    )

    def __post_init__(self) -> None:
        if len(self.scores) < 2:
            raise InputError("compare needs at least two folders of scores: a baseline, and scores to compare with it")
        check_groupings(self.by)
