"""WebDataset shards: tar files in which a sample is a video with its sentences.

    ROOT/*.tar, or ROOT is one shard       members KEY.mp4 (any video suffix) with KEY.json or KEY.txt

A video stays in its shard: its URI is `tar://KEY.mp4::SHARD`. Sentences are `expressions` in the JSON, a list of texts
or of objects with `expression` and `expression_id` (as `rvos export webdataset` writes it), or the text or list under a
usual name such as `caption`; else the lines of the text file. Other plain values of the JSON are attributes.
"""

import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from pipeline.datasets.common.dataset_video import DatasetVideo, id_problem, nfc, plain_attributes, shorten_id
from pipeline.datasets.common.expression_list import add_pairs
from pipeline.datasets.common.plain_ids import kind_problem, plain_id
from pipeline.datasets.common.video_tree import IS_SYSTEM, is_system
from pipeline.datasets.uri_list import TEXTS
from pipeline.io import storage
from pipeline.io.archive import member_uri
from pipeline.io.parallel import bounded_map
from pipeline.io.tar_headers import regular_members
from pipeline.video import FILE_SUFFIXES
from schemas.errors import InputError
from schemas.json_text import parse

SHARDS_AT_ONCE = 4
MAX_LABEL_BYTES = 2**26
PACKED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")
LABELS = (".json", ".txt")
OWN = ("expression_id", "expression")
KNOWN = ("video_id", "height", "width", "expressions", *TEXTS)  # keys of the JSON that are no attributes

NO_VIDEO = "samples without a video file; of images, extract a folder of frames"
BAD_NAME = "members whose name no URI may have"
SEVERAL = "further video files of a sample; one is taken"
REPEATED = "members whose name comes again later in their shard; the last one counts, as in 'tar'"
NO_SENTENCE = "entries of 'expressions' or a list of captions that are no sentence"
SPARSE = "members that are stored with holes; write the shard without the option S of tar"
OTHER = "members that are neither videos nor sentences"
COMPRESSED = "compressed shards, whose members cannot be read alone; decompress them"
NOT_SHARDS = "files that are not shards"


def read(root: str) -> Iterator[DatasetVideo]:
    """Read all shards, in order of their names. Raises InputError if there are none, or if one is damaged."""
    root = storage.absolute(root)
    skipped: list[tuple[str, str]] = []
    if root.lower().endswith(".tar"):
        shards = [root]
    else:
        shards = []
        try:
            for folder, names in storage.walk(root):
                for name in names:
                    path = f"{folder}/{name}".lstrip("/")
                    if name.lower().endswith(".tar"):
                        shards.append(path)
                    else:
                        skipped.append((COMPRESSED if name.lower().endswith(PACKED) else NOT_SHARDS, path))
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f"{root} is neither a folder of shards nor a .tar file") from None
        shards = [storage.join(root, path) for path in sorted(shards)]
    if not shards:
        found = f"; left out: {skipped[0][1]}, {skipped[0][0]}" if skipped else ""
        raise InputError(f"no .tar files in {root}{found}")
    return _in_order(shards, skipped)


def _in_order(shards: list[str], skipped: list[tuple[str, str]]) -> Iterator[DatasetVideo]:
    for videos in bounded_map(_read_shard, shards, SHARDS_AT_ONCE):
        for video in videos:
            video.skipped, skipped = [*skipped, *video.skipped], []
            yield video


def _read_shard(uri: str) -> list[DatasetVideo]:
    """Read the headers of a shard and its labels, not its videos."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = defaultdict(dict)  # by key and suffix
    repeated, hidden, sparse = list[str](), list[str](), list[str]()
    try:
        with storage.open_input(uri) as file:
            for member in regular_members(file):
                if any(is_system(part) for part in member.name.split("/") if part not in (".", "..")):
                    hidden.append(member.name)  # macOS stores attributes of a.mp4 as ._a.mp4
                    continue
                if member.issparse():
                    sparse.append(member.name)
                    continue
                folder, slash, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                of_sample = samples[f"{folder}{slash}{stem}"]
                repeated += [member.name] if f".{suffix.lower()}" in of_sample else []
                of_sample[f".{suffix.lower()}"] = member
            samples = dict(_split_at_last_dot(samples))
            videos = [_read_sample(uri, file, key, members) for key, members in sorted(samples.items())]
    except FileNotFoundError:
        raise InputError(f"{uri} does not exist") from None
    except tarfile.TarError as error:
        raise InputError(f"{uri} is not a complete, uncompressed tar file ({error}); download it again") from None
    kept = [video for video in videos if video.video_id]
    left_out = [note for video in videos for note in video.skipped if not video.video_id]
    if kept:
        kept[0].skipped += left_out + [(REPEATED, f"{name} of {uri}") for name in repeated]
        kept[0].skipped += [(SPARSE, f"{name} of {uri}") for name in sparse]
        kept[0].skipped += [(IS_SYSTEM, f"{name} of {uri}") for name in hidden]
    elif sparse:
        raise InputError(f"{uri} has no sample with a video file that can be read; {SPARSE}: {sparse[0]}")
    elif videos:
        raise InputError(f"{uri} has no sample with a video file; its first one is {min(samples)}")
    return kept


def _split_at_last_dot(
    samples: Mapping[str, dict[str, tarfile.TarInfo]],
) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Yield the samples; those whose key has a dot (`22.05.mp4` with `22.05.json`) each on their own.

    A key ends at the first dot, as in WebDataset, unless videos have labels of their own behind a later one.
    """
    for key, members in samples.items():
        rest = dict(members)
        for suffix in members:
            base, dot, form = suffix.rpartition(".")
            own = {f"{base}{label}" for label in LABELS} & members.keys()
            if base and own and f"{dot}{form}" in FILE_SUFFIXES:
                found = {name: rest.pop(name) for name in (suffix, *sorted(own)) if name in rest}
                yield f"{key}{base}", {name.removeprefix(base): member for name, member in found.items()}
        if rest:
            yield key, rest


def _read_sample(uri: str, file: BinaryIO, key: str, members: dict[str, tarfile.TarInfo]) -> DatasetVideo:
    """Read a sample; the id is empty if it has no video."""
    clips = sorted(suffix for suffix in members if suffix.endswith(FILE_SUFFIXES))
    if not clips:
        return DatasetVideo("", skipped=[(NO_VIDEO, f"{key} of {uri}")])
    shard = storage.file_name(uri).rpartition(".")[0]
    label = _json(uri, file, members.get(".json"))
    given = "" if label.get("video_id") in (None, "") else str(plain_id(label["video_id"]))
    video_id = shorten_id(nfc(given or f"{shard}__{key}").replace("/", "__"))
    video = DatasetVideo(video_id)
    if given and (problem := kind_problem(label, "video_id")):
        video.problems.append(f"{key} of {uri}: {problem}")
    if problem := id_problem(video_id):
        video.problems.append(f"{key} of {uri}: {problem}")
    try:
        video_uri = member_uri("tar", members[clips[0]].name, uri)
    except InputError as error:
        return DatasetVideo("", skipped=[(BAD_NAME, str(error))])
    rows = list(_sentences(label, video, f"{key} of {uri}"))
    rows = rows or [{"expression": line} for line in _lines(uri, file, members.get(".txt"))]
    common = {"video_id": video_id, "video_uri": video_uri} | plain_attributes(label, KNOWN)
    add_pairs(video, common, [(f"sentence {number}", row) for number, row in enumerate(rows, 1)], OWN)
    video.skipped += [(SEVERAL, members[suffix].name) for suffix in clips[1:]]
    used = {*clips, ".json", ".txt"}
    video.skipped += [(OTHER, member.name) for suffix, member in members.items() if suffix not in used]
    return video


def _json(uri: str, file: BinaryIO, member: tarfile.TarInfo | None) -> dict[str, Any]:
    try:
        content = parse(_content(uri, file, member) or "{}")
    except ValueError as error:
        raise InputError(f"{member.name if member else ''} of {uri} is not valid JSON: {error}") from None
    return content if isinstance(content, dict) else {"expressions": content}


def _lines(uri: str, file: BinaryIO, member: tarfile.TarInfo | None) -> list[str]:
    try:
        text = _content(uri, file, member).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{member.name if member else ''} of {uri} is not UTF-8: {error}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _content(uri: str, file: BinaryIO, member: tarfile.TarInfo | None) -> bytes:
    if member is None:
        return b""
    if member.size > MAX_LABEL_BYTES:
        raise InputError(f"{member.name} of {uri} has more than {MAX_LABEL_BYTES >> 20} MiB")
    file.seek(member.offset_data)
    content = file.read(member.size)
    if len(content) < member.size:
        raise tarfile.ReadError("unexpected end of data")
    return content


def _sentences(label: dict[str, Any], video: DatasetVideo, place: str) -> Iterator[dict]:
    """Yield the expressions of a label, with their ids and plain attributes; note entries that are none."""
    found = next((label[name] for name in ("expressions", *TEXTS) if label.get(name)), [])
    for number, entry in enumerate(found if isinstance(found, list) else [found], 1):
        row = {"expression": entry} if isinstance(entry, str) else entry if isinstance(entry, dict) else {}
        text = next((row[name] for name in TEXTS if isinstance(row.get(name), str)), None)
        if text is None:
            video.skipped.append((NO_SENTENCE, f"entry {number} of {place}"))
            continue
        own_id = {}
        if row.get("expression_id") not in (None, ""):
            own_id = {"expression_id": plain_id(row["expression_id"])}
            if problem := kind_problem(row, "expression_id"):
                video.problems.append(f"entry {number} of {place}: {problem}")
                continue
        yield plain_attributes(row, ("video_id", *TEXTS)) | own_id | {"expression": text}
