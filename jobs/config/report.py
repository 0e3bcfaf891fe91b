"""Options of `rvos report`."""

from jobs.config.media_options import MediaOptions
from jobs.config.options import argument, command_config, option
from schemas import kinds


@command_config
class ReportConfig(MediaOptions):
    """Write scores as one HTML page that works offline.

    SCORES is a folder written by 'rvos evaluate --out'. The page shows means with intervals, scores by attribute, J
    against F, J over time, scores by length and size, and frames of the best and worst pairs. If predictions,
    annotations or videos cannot be read, the page leaves them out and names them.

        rvos report scores/ --out report/
        rvos report scores/new --out report/change --against scores/baseline
        rvos report scores/ --out report/ --media DAVIS/JPEGImages/480p
        rvos report scores/ --out report/ --svg
    """

    scores: str = argument(takes=kinds.SCORES)
    out: str = option(takes=kinds.NEW_FOLDER, help="Folder for report.html.")
    svg: bool = option(default=False, help="Also write each plot of the page as a file, OUT/plots/NAME.svg.")
    against: str | None = option(
        default=None,
        metavar="SCORES",
        takes=kinds.SCORES,
        help="Baseline to compare with; adds the changes and their significance.",
    )
    predictions: str | None = option(
        default=None,
        takes=kinds.PREDICTIONS,
        help="Location of the predictions, if they were moved.  [default: as scored]",
    )
    annotations: str | None = option(
        default=None,
        takes=kinds.ANNOTATIONS,
        help="Location of the annotations, if they were moved.  [default: as scored]",
    )
    manifest: str | None = option(
        default=None,
        takes=kinds.MANIFEST,
        help="Manifest with expressions and videos.  [default: as scored, or the run's own]",
    )
    media: str | None = option(
        default=None,
        metavar="DIR",
        takes=kinds.MEDIA,
        help="Folder that holds the videos, each a folder of frames DIR/VIDEO_ID or a file of that name with any "
        "suffix. Looks here first, then at the URI in the manifest.",
    )
