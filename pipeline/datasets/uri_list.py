"""A list of videos that lie anywhere: a CSV, TSV, JSONL or Parquet file with a URI and a sentence in each row.

The columns are `video_uri` and `expression`, or one of the usual names below; `video_id` and `expression_id` are made
where they are missing, further columns are attributes. A relative URI starts at the folder of the list. A sentence may
be a list of several.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from pipeline.datasets.common.dataset_video import DatasetVideo, id_problem, nfc, shorten_id
from pipeline.datasets.common.expression_list import NOT_HERE, PlacedRow, add_pairs, row_problems
from pipeline.datasets.common.listed_rows import IDS, spread
from pipeline.datasets.common.plain_ids import plain_column
from pipeline.datasets.common.row_file import read_rows
from pipeline.io import storage
from schemas.check import Problem, SchemaError
from schemas.errors import InputError
from schemas.shown import shown

URIS = ("video_uri", "uri", "url", "video", "video_url", "video_path", "path", "file", "file_name", "filename")
TEXTS = ("expression", "sentence", "caption", "text", "query", "description", "prompt")
OWN = ("video_uri", "video_id", "expression_id", "expression")

BAD_URI = "rows whose URI cannot be used"
NO_SENTENCES = "rows with an empty list of expressions; they give no pair"
NOT_PLAIN = "values that are neither texts nor numbers; they do not become attributes"


def read(root: str) -> Iterator[DatasetVideo]:
    """Read the list `root`, sorted by video id. Raises InputError that lists all invalid rows."""
    uri = storage.absolute(root)
    notes = DatasetVideo("")  # remarks on the list as a whole
    videos: dict[tuple[str, str], list[PlacedRow]] = defaultdict(list)  # by given id ("" if none) and URI
    problems: list[Problem] = []
    for place, row in _plain_rows(uri, notes, problems):
        is_empty = row["expression"] == []
        found = list(row_problems(row | {"expression": ""} if is_empty else row, NOT_HERE - set(OWN), OWN))
        if not found and not str(row.get("video_uri") or ""):
            found = ["no URI of a video"]
        if found:
            problems += [Problem(uri, place, problem) for problem in found]
            continue
        try:
            video_uri = storage.absolute(str(row["video_uri"]), storage.parent(uri))
        except InputError as error:
            notes.skipped.append((BAD_URI, f"{place}: {error}"))
            continue
        if storage.is_remote(uri) and storage.is_local(video_uri):
            text = f"{shown(video_uri)} is on this machine, and a remote list may not name its files; copy the list"
            problems.append(Problem(uri, place, text))
            continue
        of_video = videos[str(row.get("video_id", "")), video_uri]  # also for an empty list, so that it is named
        if is_empty:
            notes.skipped.append((NO_SENTENCES, place))
        else:
            of_video.append((place, row))
    ids = _make_ids(list(videos), uri, problems)
    if problems:
        raise SchemaError(problems)
    if not videos:
        first = f" with a URI that can be used; {notes.skipped[0][1]}" if notes.skipped else ""
        raise InputError(f"{uri} has no rows{first}")
    if not any(videos.values()):
        raise InputError(f"{uri} has no expressions: all of its lists are empty")
    return _videos(videos, ids, notes)


def _videos(
    videos: dict[tuple[str, str], list[PlacedRow]], ids: dict[tuple[str, str], str], notes: DatasetVideo
) -> Iterator[DatasetVideo]:
    for key in sorted(videos, key=ids.__getitem__):
        video = DatasetVideo(ids[key], warnings=notes.warnings, skipped=notes.skipped)
        notes = DatasetVideo("")  # are said once
        add_pairs(video, {"video_id": ids[key], "video_uri": key[1]}, videos[key], OWN)
        yield video


def _plain_rows(uri: str, notes: DatasetVideo, problems: list[Problem]) -> Iterator[PlacedRow]:
    """Yield a row for each sentence of the list `uri`, with plain ids; note problems of rows and ids."""
    listed = []
    for place, raw in read_rows(uri, [URIS, TEXTS], known=(*URIS, *TEXTS, *OWN), notes=notes.warnings):
        if not isinstance(raw, dict):
            problems += [Problem(uri, place, text) for text in row_problems(raw, (), OWN)]
            continue
        try:
            listed.append(spread(place, _named(raw, notes, place), notes.warnings))
        except InputError as error:
            problems.append(Problem(uri, place, str(error)))
    placed = [(one.place, row) for one in listed for row in one.rows]
    for name in IDS:
        problems += [Problem(uri, place, text) for place, text in plain_column(placed, name, notes.warnings)]
    for one in listed:
        one.share_ids(notes.warnings)
    yield from placed


def _named(raw: dict[str, Any], notes: DatasetVideo, place: str) -> dict[str, Any]:
    """Return a row with the names of `OWN`, without empty values and nested attributes."""
    row = {key: value for key, value in raw.items() if value not in (None, "")}
    for name, usual in (("video_uri", URIS), ("expression", TEXTS)):
        found = next((one for one in usual if one in row), name)
        if found != name:
            row[name] = row.pop(found)
            text = f"rows whose {name} is the column {found!r}"
            notes.warnings.append((text, place))
    nested = [key for key in row if key not in OWN and not isinstance(row[key], str | int | float | bool)]
    notes.skipped += [(NOT_PLAIN, f"{key} of {place}") for key in nested]
    return {key: value for key, value in row.items() if key not in nested}


def _make_ids(keys: list[tuple[str, str]], source: str, problems: list[Problem]) -> dict[tuple[str, str], str]:
    """Return the id of each video: the given one, or file name and digest of the URI, which do not change.

    The query of a URI, which may be a signature, does not count, unless it alone tells two videos apart.
    """
    ids: dict[tuple[str, str], str] = {}
    uri_of: dict[str, str] = {}
    with_path = Counter(uri.partition("?")[0] for given, uri in keys if not given)
    for key in keys:
        given, uri = key
        identity = uri.partition("?")[0]
        identity = uri if with_path[identity] > 1 and "?" in uri else identity
        stem = re.sub(r"[^\w.()\[\] -]", "_", nfc(storage.file_name(uri).rpartition(".")[0] or storage.file_name(uri)))
        digest = hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()[:8]
        ids[key] = given or shorten_id(f"{stem.strip('. ') or 'video'}-{digest}")
        if problem := id_problem(ids[key]):
            problems.append(Problem(source, None, f"video_id: {problem}"))
        elif uri_of.setdefault(ids[key], uri) != uri:
            problems.append(Problem(source, None, f"video_id {ids[key]!r} has two URIs; give each video its own id"))
    return ids
