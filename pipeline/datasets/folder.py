"""Your own videos: any tree of video files and folders of images, and a file of sentences.

The id of a video is its path below ROOT, without suffix unless two files differ in it only, with `__` for `/`, in the
Unicode form NFC; a long one is shortened. Sentences name a video by that path, with or without suffix, by its id, or by
its file name if that is unique; see `expression_list` for the file.
"""

import contextlib
import os.path
from collections import Counter
from collections.abc import Iterator

from pipeline.datasets.common import expression_list
from pipeline.datasets.common.dataset_video import VIDEOS_AT_ONCE, DatasetVideo, id_problem, nfc, shorten_id
from pipeline.datasets.common.expression_list import PlacedRow
from pipeline.datasets.common.row_file import without_blanks
from pipeline.datasets.common.video_tree import VideoTree, find_videos
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from schemas.check import Problem, SchemaError
from schemas.errors import InputError

OF_ALL = "sentences without a video, among others that name one; they are used for all videos"
SAME_STEM = "videos whose names differ in the suffix only; their ids keep it"


def read(root: str, *, expressions: str | None = None, follow_links: bool = False) -> Iterator[DatasetVideo]:
    """Read all videos, sorted by id. Raises InputError if there are none, or if a sentence names none of them."""
    if expressions is None:
        raise InputError("folder needs --expressions FILE: a .csv, .tsv, .jsonl, .parquet or .txt of sentences")
    root = storage.absolute(root)
    notes: list[tuple[str, str]] = []
    rows = expression_list.read(storage.absolute(expressions), notes)
    try:
        tree = find_videos(root, follow_links=follow_links)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{root} is not a folder") from None
    if tree.problems:
        raise SchemaError([Problem(root, None, text) for text in tree.problems])
    if not tree.files and not tree.folders:
        found = "".join(f"; left out: {path}, {reason.partition('; ')[0]}" for reason, path in tree.skipped[:3])
        raise InputError(f"no videos in {root}: neither video files nor folders of images{found}")
    paths = _make_ids(tree)
    of_all = [(place, row) for place, row in rows if "video" not in row]
    of_one = _by_video(expressions, [(place, row) for place, row in rows if "video" in row], paths, tree)
    if of_one:
        notes += [(OF_ALL, f"{place} of {expressions}") for place, _ in of_all]
    first, folders = min(paths), set(tree.folders)

    def read_video(item: tuple[str, str]) -> DatasetVideo:
        video_id, path = item
        video = DatasetVideo(video_id)
        uri = storage.join(root, path) if path else root
        num_frames = len(video.list_frames(uri)) or None if path in folders else None
        common = {"video_id": video_id, "video_uri": uri, "num_frames": num_frames}
        expression_list.add_pairs(video, common, of_one.get(video_id, []) + of_all)
        if video_id == first:
            video.skipped += tree.skipped
            video.warnings += notes + tree.assumed
        return video

    return bounded_map(read_video, sorted(paths.items()), VIDEOS_AT_ONCE)


def _make_ids(tree: VideoTree) -> dict[str, str]:
    """Return the path of each video by its id. Raises InputError for names that cannot be ids, and for equal ids."""
    paths: dict[str, str] = {}
    problems = []
    stems = Counter(_stem(path, tree) for path in (*tree.files, *tree.folders))
    for path in sorted([*tree.files, *tree.folders]):
        stem = _stem(path, tree) or tree.root.rstrip("/").rpartition("/")[2]
        if stems[stem] > 1:
            stem = path
            tree.assumed.append((SAME_STEM, path))
        video_id = shorten_id(nfc(stem).replace("/", "__"))
        if problem := id_problem(video_id):
            problems.append(Problem(tree.root, None, f"{path}: {problem}"))
        elif video_id in paths:
            alike = nfc(path) == nfc(paths[video_id])
            names = f"{path!a} and {paths[video_id]!a}" if alike else f"{path} and {paths[video_id]}"
            problems.append(Problem(tree.root, None, f"{names} have the same id {video_id}; rename one"))
        else:
            paths[video_id] = path
    if problems:
        raise SchemaError(problems)
    return paths


def _stem(path: str, tree: VideoTree) -> str:
    return path if path in tree.folders else os.path.splitext(path)[0]


def _below(root: str, video: str) -> str:
    """Return a path below `root`; an absolute one, or a URI, that leads there becomes relative."""
    if video.startswith("/") or "://" in video:
        with contextlib.suppress(InputError):
            place = storage.absolute(video)
            if place.startswith(f"{root.rstrip('/')}/"):
                return place.removeprefix(f"{root.rstrip('/')}/").rstrip("/")
    return video.removeprefix("./").strip("/")


def _by_video(source: str, rows: list[PlacedRow], paths: dict[str, str], tree: VideoTree) -> dict[str, list[PlacedRow]]:
    """Group sentences by video id. Raises InputError that lists sentences with an unknown or ambiguous video."""
    names: dict[str, set[str]] = {}
    for video_id, path in paths.items():
        last = path.rpartition("/")[2]
        for name in (last, _stem(path, tree).rpartition("/")[2]):
            names.setdefault(nfc(name), set()).add(video_id)
    full: dict[str, set[str]] = {}
    for video_id, path in paths.items():
        full.setdefault(nfc(_stem(path, tree)), set()).add(video_id)
    names |= full  # a full path wins over a mere file name, and with its suffix over one without
    names |= {nfc(name): {video_id} for video_id, path in paths.items() for name in (video_id, path)}
    padded: dict[str, set[str]] = {}  # names of files that do have blanks at their ends
    for name, ids in names.items():
        padded.setdefault(without_blanks(name), set()).update(ids)
    left_out = {nfc(path): reason for reason, path in tree.skipped}
    groups: dict[str, list[PlacedRow]] = {}
    problems = []
    for place, row in rows:
        video = _below(tree.root, str(row["video"]))
        matching = sorted(names.get(nfc(video), ()) or padded.get(nfc(video), ()))
        if len(matching) == 1:
            groups.setdefault(matching[0], []).append((place, row))
        elif matching:
            text = f"video {video!r} is ambiguous: {', '.join(matching[:3])}; give its path"
            problems.append(Problem(source, place, text))
        else:
            why = f", which was left out: {left_out[nfc(video)]}" if nfc(video) in left_out else ""
            problems.append(Problem(source, place, f"unknown video {str(row['video'])!r}{why}"))
    if problems:
        raise SchemaError(problems)
    return groups
