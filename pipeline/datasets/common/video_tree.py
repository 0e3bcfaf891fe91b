"""Find the videos in a tree of files, and account for everything else in it.

A video is a video file, an animation, or a folder of images. Suffixes decide; where they do not, the first bytes of a
file do. Thumbnails next to clips, files of the operating system, and sidecar files are left out and counted.
"""

from dataclasses import dataclass, field

from pipeline.io import storage
from pipeline.video import FILE_SUFFIXES, picture
from pipeline.video.folder import (
    ANIMATIONS_AMONG,
    IS_AMONG_FRAMES,
    NATURAL,
    ODD_NAMES,
    THUMBNAILS,
    belongs_to,
    is_cover,
    odd_names,
    order_notes,
    thumbnails,
)

SYSTEM = {  # folders and files of NAS systems, file managers and tools, in lower case
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot", "$recycle.bin", "$extend",
    "lost+found", "system volume information", "network trash folder", "temporary items", "__macosx", "__pycache__",
    "recycler", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "folder.htt", "autorun.inf",
}  # fmt: skip
MASK_FOLDERS = {
    "annotations", "annotation", "mask", "masks", "segmentation", "segmentations", "segmentationclass",
    "segmentationobject", "gt", "groundtruth", "ground_truth", "gt_masks", "puppet_mask",
}  # fmt: skip
UNFINISHED = (".part", ".crdownload", ".download", ".partial", ".tmp", ".!qb", ".!ut", ".aria2", ".ytdl", ".filepart")
NO_MEDIA = (
    ".txt", ".json", ".jsonl", ".csv", ".tsv", ".parquet", ".xml", ".yaml", ".yml", ".toml", ".ini", ".log", ".md",
    ".html", ".htm", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".srt", ".vtt", ".ass", ".ssa", ".sub", ".idx", ".lrc",
    ".nfo", ".url", ".md5", ".sha256", ".mp3", ".m4a", ".aac", ".wav", ".flac", ".opus", ".oga", ".npy", ".npz", ".pt",
    ".pkl", ".h5", ".hdf5", ".mat", ".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".py", ".sh", ".js", ".db", ".xmp",
    ".thm", ".lrv", ".ifo", ".bup", ".torrent",
)  # fmt: skip
SNIFFED = 400  # bytes
SIGNATURES = (
    b"\x1a\x45\xdf\xa3", b"FLV\x01", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"OggS",
    b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"\x06\x0e\x2b\x34", b"YUV4MPEG2", b"GIF8", b"DKIF", b".RMF",
)  # fmt: skip

# Left out; after the semicolon: the way out.
IS_SYSTEM = "hidden files and folders, and those of the system (@eaDir, Thumbs.db ...)"
IS_BESIDE = "images next to or above video files; if they are frames, give them a folder of their own"
IS_UNFINISHED = "downloads that did not finish; complete them, or rename them"
IS_UNREADABLE = "images in a form that cannot be read; convert them to PNG or JPEG"
IS_OTHER = "files that are neither videos nor images"
LEAVES = "links that leave ROOT; give --follow-links to follow them"
NOT_TEXT = "names that are not UTF-8; rename them"
# Assumed.
MASKS = "folders named like those of masks (Annotations, masks ...); each is taken as a video, too"
ONE_IMAGE = "folders with one image; each is taken as a video of one frame"
ONE_PICTURE_GIFS = "GIF files of one picture, next to others; each is taken for a video; convert frames to PNG"


@dataclass(slots=True)
class VideoTree:
    """Paths below a root, in order: `files` are videos and animations, `folders` are videos of images."""

    root: str
    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)  # reason and path
    assumed: list[tuple[str, str]] = field(default_factory=list)  # text and path
    problems: list[str] = field(default_factory=list)


def find_videos(root: str, *, follow_links: bool = False) -> VideoTree:
    """Search the folder `root`. Links that leave it are left out unless `follow_links`, and so are folders with such
    images.

    Raises FileNotFoundError or NotADirectoryError.
    """
    tree = VideoTree(root)
    leaving: list[str] | None = None if follow_links else []
    single: list[tuple[str, str]] = []  # folders with one image, and its name
    clips_of: dict[str, set[str]] = {}
    for folder, names in storage.walk(root, leaving):
        if any(is_system(part) for part in folder.split("/") if part):
            tree.skipped.append((IS_SYSTEM, folder))
            continue
        if not storage.is_text(folder):
            tree.skipped.append((NOT_TEXT, ascii(folder)))
            continue
        clips, images = _sort_files(tree, folder, names)
        clips_of[folder] = {name.casefold() for clip in clips for name in (clip, clip.rpartition(".")[0])}
        near = clips_of[folder] | clips_of.get(folder.rpartition("/")[0] if folder else "", set())
        small = {name for name in images if _is_thumbnail(name, near, alone=len(images) == 1)}
        frames = [name for name in images if name not in small]
        has_clips = clips or any(belongs_to(name, near) for name in small)
        if not frames or (has_clips and (len(frames) == 1 or odd_names(frames))):
            tree.skipped += [(IS_BESIDE, _join(folder, name)) for name in frames]
        else:  # a video of images: what counts as a frame is decided as where it is read
            small = thumbnails(names)
            frames = [name for name in images if name not in small]
            if len(frames) == 1:
                single.append((folder, frames[0]))
            else:
                tree.folders.append(folder)
                moving = [name for name in clips if name.lower().endswith(picture.SUFFIXES)]
                tree.problems += [f"{_join(folder, name)} {IS_AMONG_FRAMES}" for name in moving]
                _note_order(tree, folder, frames)
        tree.skipped += [(THUMBNAILS, _join(folder, name)) for name in images if name in small]
        tree.files += [_join(folder, clip) for clip in clips]
        tree.assumed += [(ONE_PICTURE_GIFS, _join(folder, name)) for name in _still_gifs(tree, folder, clips)]
    tree.skipped += [(LEAVES, path) for path in leaving or ()]
    partial = {path.rpartition("/")[0] for path in leaving or () if path.lower().endswith(picture.SUFFIXES)}
    tree.folders = [folder for folder in tree.folders if folder not in partial]
    for folder, name in single:
        if folder in partial:
            continue
        if any(clip.startswith(f"{folder}/" if folder else "") for clip in (*tree.files, *tree.folders)):
            tree.skipped.append((IS_BESIDE, _join(folder, name)))
        else:
            tree.folders.append(folder)
            tree.assumed.append((ONE_IMAGE, _join(folder, name)))
    of_masks = [folder for folder in tree.folders if not MASK_FOLDERS.isdisjoint(folder.casefold().split("/"))]
    tree.assumed += [(MASKS, folder) for folder in of_masks]
    return tree


def _sort_files(tree: VideoTree, folder: str, names: list[str]) -> tuple[list[str], list[str]]:
    """Return video files and images among the names, and note the others as left out."""
    clips, images = [], []
    for name in names:
        path, lower = _join(folder, name), name.lower()
        if is_system(name):
            tree.skipped.append((IS_SYSTEM, path))
        elif not storage.is_text(name):
            tree.skipped.append((NOT_TEXT, ascii(path)))
        elif lower.endswith(picture.SUFFIXES):
            images.append(name)
        elif lower.endswith(picture.UNREADABLE_SUFFIXES):
            tree.skipped.append((IS_UNREADABLE, path))
        elif lower.endswith(UNFINISHED):
            tree.skipped.append((IS_UNFINISHED, path))
        elif _is_video(storage.join(tree.root, path)):
            clips.append(name)
        else:
            tree.skipped.append((IS_OTHER, path))
    if len(images) <= ANIMATIONS_AMONG:
        moving = {name for name in images if picture.is_animation(storage.join(tree.root, _join(folder, name)))}
        clips, images = [*clips, *sorted(moving)], [name for name in images if name not in moving]
    return clips, images


def is_system(name: str) -> bool:
    """Return True if a file or folder is hidden, or made by a system for itself."""
    return name.startswith((".", "~$")) or name.lower() in SYSTEM


def _is_thumbnail(name: str, clips: set[str], *, alone: bool) -> bool:
    """Return True if an image belongs to one of the clips (lower case), or is the cover of its folder."""
    return belongs_to(name, clips) or (is_cover(name) and (alone or bool(clips)))


def _is_video(uri: str) -> bool:
    """Return True if the suffix or, for an unknown suffix, the first bytes are those of a video container."""
    lower = uri.lower()
    if lower.endswith(FILE_SUFFIXES) and not lower.endswith(".ts"):  # TypeScript has this suffix too
        return True
    if lower.endswith(NO_MEDIA):
        return False
    try:
        with storage.open_input(uri) as file:
            start = file.read(SNIFFED)
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        return False
    is_mpeg_ts = any(
        start[at : at + 1] == b"\x47" == start[at + step : at + step + 1] for at, step in ((0, 188), (4, 192))
    )
    is_riff = start[:4] == b"RIFF" and start[8:12] == b"AVI "
    return start.startswith(SIGNATURES) or start[4:8] in (b"ftyp", b"moov") or is_riff or is_mpeg_ts


def _still_gifs(tree: VideoTree, folder: str, clips: list[str]) -> list[str]:
    """Return the GIF files of a folder that has several, if the first one is a single picture: frames, most likely."""
    gifs = [name for name in clips if name.lower().endswith(".gif")]
    if len(gifs) < 2 or picture.has_several_images(storage.join(tree.root, _join(folder, gifs[0]))):
        return []
    return gifs


def _note_order(tree: VideoTree, folder: str, frames: list[str]) -> None:
    differs, odd = order_notes(frames)
    tree.assumed += [(NATURAL, folder or tree.root)] if differs else []
    tree.assumed += [(ODD_NAMES, _join(folder, name)) for name in odd]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}".lstrip("/")
