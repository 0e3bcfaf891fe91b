"""Zips for the evaluation servers: a binary PNG for each frame of each expression, below the folder that they want."""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.export.all_frames import IncompletePairs, Missing, with_all_frames
from pipeline.export.png import binary_png
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.masks.by_video import PairMasks
from schemas.errors import InputError

ENCODERS = 2  # threads that decode RLE and make PNGs
FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say


@dataclass(frozen=True, slots=True)
class Server:
    """What a server takes: ROOT/VIDEO/EXPRESSION/FRAME.png, and how much of it the published set has."""

    name: str
    title: str
    root: str  # "": the folders of the videos lie in the zip itself
    videos: int
    pairs: int
    source: str  # of the layout

    def path(self, video: str, expression: str, frame: str) -> str:
        """Where a mask lies in the zip. Raises InputError for ids that would leave their folder."""
        names = [storage.safe_name(name) for name in (video, expression, f"{frame}.png")]
        return "/".join([self.root, *names] if self.root else names)

    def beside_published(self, videos: int, pairs: int) -> list[str]:
        """A word on these counts if they are not those of the published set."""
        if (videos, pairs) == (self.videos, self.pairs):
            return []
        published = f"{self.videos} videos and {self.pairs} expressions"
        return [f"the published set ({self.title}) has {published}, this zip {videos} and {pairs}"]


_MEVIS = "README of henghuiding/MeViS, submission guideline"
SERVERS = {
    server.name: server
    for server in (
        Server(
            "ref-youtube-vos",
            "Ref-YouTube-VOS, valid",
            "Annotations",
            202,
            834,
            "docs/Ref-Youtube-VOS.md of wjn922/ReferFormer",
        ),
        Server("mevis", "MeViS, valid", "", 140, 2236, _MEVIS),
        Server("mevis-v2", "MeViS v2 (2024), valid", "", 140, 2523, _MEVIS),
    )
}


@dataclass(frozen=True, slots=True)
class Submission:
    """What is in the zip; `filled` of the files are empty masks of frames that had none."""

    videos: int
    pairs: int
    files: int
    filled: int


def write_submission(
    videos: Iterable[list[PairMasks]], server: Server, out: str, missing: Missing = "error"
) -> Submission:
    """Write the zip `out`, replacing an earlier one in one step; same predictions, same bytes.

    PNGs are stored as they are, since they are compressed already. Raises InputError, naming all that lacks, if a frame
    that was asked for has no mask (with `missing` "empty" it gets an empty one), or an id cannot be a file name.
    """
    lacking = IncompletePairs()
    counts = dict.fromkeys(("videos", "pairs", "files", "filled"), 0)
    with storage.spool(out) as path:
        with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
            for video in videos:
                pairs, filled = with_all_frames(video, missing, lacking)
                counts["videos"] += 1
                counts["pairs"] += len(pairs)
                counts["filled"] += filled
                if lacking.count:
                    continue  # it will be refused; go on to name everything
                for pair in pairs:
                    counts["files"] += _add(archive, pair, server)
        lacking.refuse()
        if not counts["files"]:
            raise InputError(f"there is no mask to write to {out}")
        storage.commit(path, out, replace=True)
    return Submission(**counts)


def _add(archive: zipfile.ZipFile, pair: PairMasks, server: Server) -> int:
    rows = pair.rows()
    contents = bounded_map(lambda row: binary_png(pair.mask(row)), rows, ENCODERS)
    for row, content in zip(rows, contents, strict=True):
        name = row["frame_name"]
        pair.file_name(f"{name}.png", name)  # its error names the pair
        entry = zipfile.ZipInfo(server.path(pair.video_id, pair.expression_id, name), FIXED_TIME)
        entry.create_system, entry.external_attr = 3, 0o644 << 16  # as Unix, wherever it is made
        archive.writestr(entry, content)
    return len(rows)
