"""Videos of one's own: any tree of video files and folders of images, and a file of sentences.

The id of a video is its path below ROOT, without suffix, `/` becoming `__`. Sentences name a video by that path, with
suffix or without, by its id, or by its file name where that is the only one; see `expression_list` for the file.
"""

import os.path
from collections.abc import Iterator
from functools import partial

from pipeline.datasets.common import expression_list
from pipeline.datasets.common.dataset_video import VIDEOS_AT_ONCE, DatasetVideo, flat_id, frame_names, id_problem
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.video import FILE_SUFFIXES
from pipeline.video.folder import SUFFIXES
from schemas.check import Problem, SchemaError
from schemas.errors import InputError

Row = tuple[int, dict]  # its number in the file of sentences, and its columns


def read(root: str, *, expressions: str | None = None) -> Iterator[DatasetVideo]:
    """All videos, sorted by id. Raises InputError if there are none, or if sentences are about none of them."""
    if expressions is None:
        raise InputError("folder needs --expressions FILE: a .csv, .jsonl or .txt of sentences")
    root = storage.absolute(root)
    rows = expression_list.read(storage.absolute(expressions))
    paths = _paths(root)
    for_all = [(number, row) for number, row in rows if "video" not in row]
    own = _by_video(expressions, [(number, row) for number, row in rows if "video" in row], paths)
    items = [(video_id, path, own.get(video_id, []) + for_all) for video_id, path in sorted(paths.items())]
    return bounded_map(partial(_import_video, root), items, VIDEOS_AT_ONCE)


def _paths(root: str) -> dict[str, str]:
    """Video id -> path below `root` of each video file and each folder of images."""
    try:
        found = [path for folder, names in storage.walk(root) for path in _videos(folder, names)]
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"no folder {root}") from None
    if not found:
        raise InputError(f"no videos in {root}: neither files ({', '.join(FILE_SUFFIXES)}) nor folders of images")
    paths: dict[str, str] = {}
    problems = []
    for path in sorted(found):
        stem = _stem(path) or root.rstrip("/").rpartition("/")[2]
        if problem := id_problem(stem, nested=True):
            problems.append(Problem(root, None, f"{path}: {problem}"))
        elif (video_id := flat_id(stem)) in paths:
            text = f"{path} and {paths[video_id]} would have one id, {video_id}; rename one"
            problems.append(Problem(root, None, text))
        else:
            paths[video_id] = path
    if problems:
        raise SchemaError(problems)
    return paths


def _videos(folder: str, names: list[str]) -> Iterator[str]:
    if any(name.lower().endswith(SUFFIXES) for name in names):
        yield folder
    yield from (f"{folder}/{name}".lstrip("/") for name in names if name.lower().endswith(FILE_SUFFIXES))


def _stem(path: str) -> str:
    return os.path.splitext(path)[0] if path.lower().endswith(FILE_SUFFIXES) else path


def _by_video(source: str, rows: list[Row], paths: dict[str, str]) -> dict[str, list[Row]]:
    """The sentences of each video. Raises InputError that lists all which are about no video, or several."""
    names: dict[str, set[str]] = {}
    for video_id, path in paths.items():
        last = path.rpartition("/")[2]
        for name in (last, _stem(last)):
            names.setdefault(name, set()).add(video_id)
    for video_id, path in paths.items():  # a full path is meant before a mere name
        for name in (video_id, path, _stem(path)):
            names[name] = {video_id}
    own: dict[str, list[Row]] = {}
    problems = []
    for number, row in rows:
        video = str(row["video"]).removeprefix("./").strip("/")
        meant = names.get(video, set())
        if len(meant) == 1:
            own.setdefault(next(iter(meant)), []).append((number, row))
        elif meant:
            text = f"video {video!r} is several: {', '.join(sorted(meant)[:3])}; give its path"
            problems.append(Problem(source, number, text))
        else:
            problems.append(Problem(source, number, f"there is no video {video!r}"))
    if problems:
        raise SchemaError(problems)
    return own


def _import_video(root: str, item: tuple[str, str, list[Row]]) -> DatasetVideo:
    video_id, path, rows = item
    found = DatasetVideo(video_id)
    uri = storage.join(root, path) if path else root
    is_file = path.lower().endswith(FILE_SUFFIXES)
    num_frames = None if is_file else len(frame_names(uri, found)) or None
    taken: set[str] = set()
    free = 0
    for number, row in sorted(rows, key=lambda numbered: "expression_id" not in numbered[1]):  # given ids go first
        if "expression_id" in row:
            expression_id = str(row["expression_id"])
            problem = id_problem(expression_id)
            if problem or expression_id in taken:
                text = problem or f"expression_id {expression_id!r} is there twice; make it unique within its video"
                found.problems.append(f"row {number} of the expressions: {text}")
                continue
        else:
            while str(free) in taken:
                free += 1
            expression_id = str(free)
        taken.add(expression_id)
        more = {key: value for key, value in row.items() if key not in expression_list.OWN}
        found.pairs.append(
            {
                "video_id": video_id,
                "video_uri": uri,
                "expression_id": expression_id,
                "expression": row["expression"],
                "num_frames": num_frames,
                **more,
            }
        )
    found.check_texts()
    return found
