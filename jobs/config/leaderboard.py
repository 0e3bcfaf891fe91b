"""Options of `rvos leaderboard`."""

from jobs.config.options import argument, command_config, option
from schemas.errors import InputError

EXPORTS = (".html", ".json", ".md")


@command_config
class AddConfig:
    """Add SCORES, a folder that 'rvos evaluate --out' wrote, to the leaderboard in the folder STORE.

    The first entry starts it, and fixes protocol, missing rule and truth; entries with others are refused. Kept are
    the scores by pair, counts, versions, the run's fingerprint, and hashes of truth and predictions.

    \b
    rvos leaderboard add boards/davis scores/ --name "ReferFormer, ResNet-50"
    """

    store: str = argument(is_path=True)
    scores: str = argument(is_path=True)
    name: str = option(help="Name of the entry; the first to take it keeps it.")


@command_config
class ShowConfig:
    """Show the leaderboard in STORE, with intervals, and whether each entry is told apart from the first.

    \b
    rvos leaderboard show boards/davis
    """

    store: str = argument(is_path=True)


@command_config
class LeaderboardExportConfig:
    """Write the leaderboard in STORE to FILE: a page (.html), a table (.md) or data (.json), by its ending.

    \b
    rvos leaderboard export boards/davis leaderboard.html
    rvos leaderboard export s3://bucket/mevis s3://bucket/public/mevis.md
    """

    store: str = argument(is_path=True)
    file: str = argument(is_path=True)

    def __post_init__(self) -> None:
        if not self.file.endswith(EXPORTS):
            raise InputError(f"{self.file}: what is it to be? Give a file that ends in {', '.join(EXPORTS)}")
