"""Options of `rvos report`."""

from jobs.config.options import argument, command_config, option


@command_config
class ReportConfig:
    """Show SCORES, a folder that 'rvos evaluate --out' wrote, as one HTML file that works offline.

    Means with intervals, attributes, J against F, J over time, length and size, and frames of the best and worst
    pairs. Predictions, annotations and videos that cannot be reached are noted in the page, and left out.

    \b
    rvos report scores/ --out report/
    rvos report scores/new --out report/ --against scores/baseline
    rvos report scores/ --out report/ --media DAVIS/JPEGImages/480p
    """

    scores: str = argument(is_path=True)
    out: str = option(is_path=True, help="Folder for report.html.")
    against: str | None = option(
        default=None,
        metavar="SCORES",
        is_path=True,
        help="Scores to hold these against: what changed, and how sure that is.",
    )
    predictions: str | None = option(
        default=None, is_path=True, help="Where the predictions are now.  [default: where they were scored]"
    )
    annotations: str | None = option(
        default=None, is_path=True, help="Where the annotations are now.  [default: as above]"
    )
    manifest: str | None = option(
        default=None, is_path=True, help="Manifest with expressions and videos.  [default: as above, or the run's own]"
    )
    media: str | None = option(
        default=None,
        metavar="DIR",
        is_path=True,
        help="Folder with the frames or file of each video, DIR/<video>; before the manifest's.",
    )
