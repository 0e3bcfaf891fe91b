"""Options of `rvos leaderboard add`, `show` and `export`."""

from jobs.config.options import argument, command_config, option, table_format
from schemas import kinds
from schemas.errors import InputError

TABLES = {".md": "markdown", ".csv": "csv", ".tex": "latex"}
EXPORTS = (".html", ".json", *TABLES)


@command_config
class AddConfig:
    """Add scores to a leaderboard.

    SCORES is a folder written by 'rvos evaluate --out'. The first entry creates the leaderboard in the folder STORE and
    fixes its protocol, its 'rvos evaluate --missing' rule and its annotations. Scores with another protocol, another
    rule or other annotations are refused. An entry holds the scores of each pair, the numbers of pairs and frames, the
    version of rvos, the fingerprint of the run (a hash of its weights and options), and hashes of annotations and
    predictions.

        rvos leaderboard add boards/davis scores/ --name "ReferFormer, ResNet-50"
    """

    store: str = argument(takes=kinds.NEW_BOARD)
    scores: str = argument(takes=kinds.SCORES)
    name: str = option(help="Name of the new entry.")


@command_config
class ShowConfig:
    """Show a leaderboard with intervals and significance.

    Compares every entry of STORE with every other, video by video. The column p shows the test against
    the entry on top: the probability of a difference at least this large if both are equally good. p is corrected
    (Holm), since there are several tests. Entries that share a letter under 'group' do not differ significantly.

        rvos leaderboard show boards/davis
        rvos leaderboard show boards/davis --format latex > board.tex
    """

    store: str = argument(takes=kinds.BOARD)
    print_as: str | None = table_format()


@command_config
class LeaderboardExportConfig:
    """Write a leaderboard as a page, table or JSON.

    The extension of FILE selects the format: .html, .json, .md, .csv or .tex.

        rvos leaderboard export boards/davis leaderboard.html
        rvos leaderboard export s3://bucket/mevis s3://bucket/public/mevis.md
    """

    store: str = argument(takes=kinds.BOARD)
    file: str = argument(takes=kinds.NEW_PAGE)

    def __post_init__(self) -> None:
        if not self.file.endswith(EXPORTS):
            raise InputError(f"unknown extension of {self.file}; choose from {', '.join(EXPORTS)}")
