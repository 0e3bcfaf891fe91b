"""Options of `rvos export`."""

from typing import Literal

from jobs.config.options import argument, command_config, option
from pipeline.export.servers import SERVERS, find_server


@command_config
class ExportConfig:
    """What all exports have."""

    run: str = argument(is_path=True)
    out: str = option(is_path=True, help="What to write, local or s3://.")
    manifest: str | None = option(
        default=None, is_path=True, help="Manifest that chooses among the pairs.  [default: the run's own]"
    )


@command_config
class SubmissionConfig(ExportConfig):
    """Write a zip for an evaluation server: one binary PNG for each frame asked for, in the folders that it wants.

    \b
    rvos export submission runs/first --for ref-youtube-vos --out submission.zip
    rvos export submission s3://b/masks --manifest m.parquet --for mevis --out s3://b/mevis.zip --missing empty
    """

    out: str = option(is_path=True, help="Zip to write, local or s3://.")
    server: str = option(flag="--for", choices=tuple(SERVERS), help="Server, and the form it takes.")
    missing: Literal["error", "empty"] = option(
        default="error", help="Frames asked for that have no mask are refused, or become empty masks."
    )

    def __post_init__(self) -> None:
        find_server(self.server)


@command_config
class DavisConfig(ExportConfig):
    """Write label maps as DAVIS has them, the objects of each annotator merged: DIR/anno_0/VIDEO/FRAME.png.

    Annotators and objects are the manifest's, or follow from the published numbering. Where masks overlap, the one with
    the higher score in that frame wins.

    \b
    rvos export davis runs/davis --out results/
    """

    out: str = option(is_path=True, help="New folder for anno_0/ and so on, local or s3://.")
    missing: Literal["error", "empty"] = option(
        default="error", help="Frames asked for that have no mask are refused, or become empty masks."
    )


@command_config
class CocoVideoConfig(ExportConfig):
    """Write one JSON in the form of YouTube-VIS, a list of RLEs for each pair.

    \b
    rvos export coco-video runs/first --out masks.json
    """

    out: str = option(is_path=True, help="JSON file to write, local or s3://.")


@command_config
class ReviewConfig(ExportConfig):
    """Write COCO instances for each video, which FiftyOne and CVAT read: look at masks there, and correct them.

    \b
    rvos export review runs/first --out review/
    """

    out: str = option(is_path=True, help="New folder for VIDEO.json, local or s3://.")


@command_config
class OverlayConfig(ExportConfig):
    """Draw the masks: a video for each pair, and for each video a sheet with a few frames of every pair.

    \b
    rvos export overlay runs/first --out overlays/ --limit 20
    rvos export overlay runs/first --out overlays/ --as gif --fps 6
    """

    out: str = option(is_path=True, help="New folder for VIDEO/EXPRESSION.mp4 and VIDEO/sheet.png, local or s3://.")
    form: Literal["mp4", "gif"] = option(default="mp4", flag="--as", help="Form of the videos.")
    fps: int = option(default=10, least=1, most=100, help="Frames a second.")
    max_size: int = option(default=640, least=32, help="Longer side in pixels.")
    limit: int | None = option(default=None, least=1, help="Only the first N pairs that have masks.")


@command_config
class WebDatasetConfig(ExportConfig):
    """Write videos and masks as WebDataset shards, a sample for each video, and a training manifest.

    \b
    rvos export webdataset runs/first --out shards/
    rvos train --data shards/manifest.parquet --annotations runs/first --init checkpoint/ --out student/
    """

    out: str = option(
        is_path=True, help="New folder for shard-00000.tar, index.json and manifest.parquet, local or s3://."
    )
    shard_mb: int = option(default=256, least=1, help="Size from which a shard is closed.")


@command_config
class ValidateConfig:
    """Find the classic mistakes in ZIP, anybody's: wrong root, missing frames, wrong size, gray values, extra files.

    Exit code 1 if there are any. Nothing is unpacked to disk.

    \b
    rvos export validate submission.zip --for ref-youtube-vos --manifest data/manifest.parquet
    """

    zip: str = argument(is_path=True)
    server: str = option(flag="--for", choices=tuple(SERVERS), help="Server, and the form it takes.")
    manifest: str | None = option(
        default=None,
        is_path=True,
        help="What should be in it.  [default: expressions of a video are held against each other]",
    )

    def __post_init__(self) -> None:
        find_server(self.server)
