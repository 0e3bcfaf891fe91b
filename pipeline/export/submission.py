"""Zips for evaluation servers: one binary PNG for each frame of each expression, in the layout of the server."""

import zipfile

from pipeline.export.all_frames import MissingExportMasks, complete_videos, frame_step_notes
from pipeline.export.exported import Exported
from pipeline.export.servers import Server, find_server
from pipeline.io import output_file, storage
from pipeline.io.parallel import bounded_map
from pipeline.masks.by_video import MaskSource, PairMasks
from pipeline.masks.write_png import binary_png
from schemas.printable import counted

ENCODERS = 2  # threads that decode RLE and make PNGs
FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can store: the same bytes each time


def write_submission(source: MaskSource, out: str, *, server: str, missing: MissingExportMasks = "error") -> Exported:
    """Write the zip `out` for `server`, a name in SERVERS, in one step.

    PNGs are stored without further compression. Raises InputError that names all incomplete pairs if a frame asked for
    has no mask (with `missing` "empty" it gets an empty one), for ids that cannot be file names, and if `out` is a file
    with other content.
    """
    layout = find_server(server)
    counts: dict[str, int] = dict.fromkeys(("videos", "pairs", "files", "filled"), 0)
    with storage.spool(out) as path:
        with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
            for pairs in complete_videos(source, out, missing, counts):
                counts["files"] += sum(_add_pair(archive, pair, layout) for pair in pairs)
        output_file.commit_same(path, out)
    filled_notes = [f"{counted(counts['filled'], 'frame')} without a mask, taken as empty"] if counts["filled"] else []
    size_notes = layout.size_notes(counts["videos"], counts["pairs"])
    return Exported(counts, [*filled_notes, *size_notes, *frame_step_notes(source)])


def path_in_zip(server: Server, video: str, expression: str, frame: str) -> str:
    """Return the path of a mask in the zip. Raises InputError for ids that would leave their folder."""
    names = [storage.safe_name(name) for name in (video, expression, f"{frame}.png")]
    return "/".join([server.root, *names] if server.root else names)


def _add_pair(archive: zipfile.ZipFile, pair: PairMasks, server: Server) -> int:
    rows = pair.rows()
    contents = bounded_map(lambda row: binary_png(pair.mask(row)), rows, ENCODERS)
    for row, content in zip(rows, contents, strict=True):
        name = row["frame_name"]
        pair.file_name(f"{name}.png", name)  # its error names the pair
        entry = zipfile.ZipInfo(path_in_zip(server, pair.video_id, pair.expression_id, name), FIXED_TIME)
        entry.create_system, entry.external_attr = 3, 0o644 << 16  # as on Unix, wherever it is made
        archive.writestr(entry, content)
    return len(rows)
