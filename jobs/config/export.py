"""Options and registry of the formats of `rvos export`.

A new format is a module with a writer, as `pipeline.export` describes, a config here, and a line in `FORMATS`.
"""

from typing import Literal, NamedTuple

from jobs.config.media_options import MediaOptions
from jobs.config.options import argument, command_config, option
from pipeline.export.servers import SERVERS, find_server
from schemas import kinds

MISSING_HELP = "Frames without a mask: fail, or write empty masks."


@command_config
class ExportConfig(MediaOptions):
    """Options of all exports."""

    run: str = argument(takes=kinds.MASKS)
    out: str = option(takes=kinds.NEW_FOLDER, help="File or folder to write, local or s3://.")
    manifest: str | None = option(
        default=None,
        takes=kinds.MANIFEST,
        help="Use only the pairs of this manifest.  [default: the run's own]",
    )


@command_config
class SubmissionConfig(ExportConfig):
    """Write a zip of PNG masks for an evaluation server.

    The zip holds one binary PNG for each frame that the manifest lists, in the folders that the server expects.

        rvos export submission runs/first --for ref-youtube-vos --out submission.zip
        rvos export submission s3://b/masks --manifest m.parquet --for mevis --out s3://b/mevis.zip --missing empty
    """

    out: str = option(takes=kinds.NEW_ZIP, help="Zip file to write, local or s3://.")
    server: str = option(flag="--for", choices=tuple(SERVERS), help="Server that takes the zip.")
    missing: Literal["error", "empty"] = option(default="error", help=MISSING_HELP)

    def __post_init__(self) -> None:
        find_server(self.server)


@command_config
class DavisConfig(ExportConfig):
    """Write label maps in the layout of DAVIS.

    Writes one tree of label maps per annotator: OUT/anno_0/VIDEO/FRAME.png, OUT/anno_1/ and so on. Reads annotator and
    object from the columns annotator and object_ids of the manifest. Without these columns, it computes them from
    expression_id = 4 * object + annotator (both counted from 0). Where masks overlap, the one with the higher frame
    score wins.

        rvos export davis runs/davis --out results/
    """

    out: str = option(
        takes=kinds.NEW_FOLDER,
        help="Folder for anno_0/ and so on, new or from the same command; local or s3://.",
    )
    missing: Literal["error", "empty"] = option(default="error", help=MISSING_HELP)


@command_config
class CocoVideoConfig(ExportConfig):
    """Write one JSON file of RLE masks, in YouTube-VIS format.

    Each pair is an annotation with a mask for each frame of its video; empty masks are null.

        rvos export coco-video runs/first --out masks.json
    """

    out: str = option(takes=kinds.NEW_JSON, help="JSON file to write, local or s3://.")


@command_config
class ReviewConfig(ExportConfig):
    """Write COCO instances for FiftyOne and CVAT.

    Writes one JSON file per video. Import it there to correct the masks.

        rvos export review runs/first --out review/
    """

    out: str = option(
        takes=kinds.NEW_FOLDER, help="Folder for VIDEO.json, new or from the same command; local or s3://."
    )


@command_config
class OverlayConfig(ExportConfig):
    """Draw the masks over the videos.

    Writes a video for each pair and, for each input video, a sheet with one row of frames per pair. After 40 pairs of
    a video, further sheets follow (sheet-2.png and so on). A line runs around each mask, which is not tinted. In an
    MP4, an odd width or height gets one pixel more. A GIF has at most 50 frames per second and leaves the others out.

        rvos export overlay runs/first --out overlays/ --limit 20
        rvos export overlay runs/first --out overlays/ --as gif --fps 6
    """

    out: str = option(
        takes=kinds.NEW_FOLDER,
        help="Folder for VIDEO/EXPRESSION.mp4 and VIDEO/sheet.png, new or from the same command; local or s3://.",
    )
    form: Literal["mp4", "gif"] = option(default="mp4", flag="--as", help="File format of the videos.")
    fps: int | None = option(
        default=None,
        least=1,
        most=100,
        help="Frames per second.  [default: each frame as long as in the video; 0.1 s for folders]",
    )
    max_size: int = option(default=640, least=32, help="Shrink videos so that the longer side has at most N pixels.")
    limit: int | None = option(default=None, least=1, help="Draw only the first N pairs that have masks.")


@command_config
class WebDatasetConfig(ExportConfig):
    """Write videos and masks as WebDataset shards.

    Each video and its masks are one sample. Also writes a manifest of the pairs in the shards, for 'rvos train --data'.

        rvos export webdataset runs/first --out shards/
        rvos train --data shards/manifest.parquet --annotations runs/first --init checkpoint/ --out student/
    """

    out: str = option(
        takes=kinds.NEW_FOLDER,
        help="Folder for shard-00000.tar, index.json and manifest.parquet, new or from the same command; local or s3://.",
    )
    shard_mb: int = option(default=256, least=1, help="Close a shard when it has this size, in MB.")


@command_config
class ValidateConfig:
    """Check a submission zip for mistakes.

    Checks any ZIP for a wrong top-level folder, missing frames, wrong sizes, grey values and extra files, without
    unpacking it to disk. The exit code is 1 if it has mistakes.

        rvos export validate submission.zip --for ref-youtube-vos --manifest data/manifest.parquet
    """

    zip: str = argument(takes=kinds.SUBMISSION)
    server: str = option(flag="--for", choices=tuple(SERVERS), help="Server that takes the zip.")
    manifest: str | None = option(
        default=None,
        takes=kinds.MANIFEST,
        help="Manifest with the expected pairs. Without it, a frame counts as missing only if another expression "
        "of the video has it.",
    )

    def __post_init__(self) -> None:
        find_server(self.server)


class Format(NamedTuple):
    """A format of `rvos export`: name, config, writer as "module:function", and form of the output.

    The first sentence of the config's docstring is the summary. `pipeline.export` describes the writer.
    """

    name: str
    config: type[ExportConfig]
    writer: str
    to_folder: bool  # else to one file
    needs_manifest: bool = False  # for the URIs of the videos


FORMATS = [
    Format("submission", SubmissionConfig, "pipeline.export.submission:write_submission", to_folder=False),
    Format("davis", DavisConfig, "pipeline.export.davis:write_davis", to_folder=True),
    Format("coco-video", CocoVideoConfig, "pipeline.export.coco_video:write_coco_video", to_folder=False),
    Format("review", ReviewConfig, "pipeline.export.review:write_review", to_folder=True),
    Format("overlay", OverlayConfig, "pipeline.export.overlay:write_overlays", to_folder=True, needs_manifest=True),
    Format(
        "webdataset",
        WebDatasetConfig,
        "pipeline.export.webdataset:write_webdataset",
        to_folder=True,
        needs_manifest=True,
    ),
]
