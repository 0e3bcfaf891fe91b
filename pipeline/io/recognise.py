"""Tell what a path holds: from its first bytes, the columns of its table or the names in its folder, not its suffix."""

import csv
import json
from collections.abc import Sequence

from pipeline.io import parquet, storage
from pipeline.io.own_file import is_foreign
from pipeline.io.table_files import SUFFIXES
from schemas.errors import InputError, StorageError
from schemas.json_text import loads
from schemas.kinds import Kind
from schemas.uri import ARCHIVES, HTTP, scheme_of

HEAD_BYTES = 2**16  # read of a file
MOST_ROWS = 20  # of a text, to see if it is a table
MOST_NAMES = 1000  # read of a folder
LOOKED_INTO = 3  # files or folders of a folder, and of one folder in it

# A folder is of the first kind whose names it has all of, unless the files of these names are of another program.
MARKERS: list[tuple[Kind, Sequence[str]]] = [
    (Kind.RUN, ["run.json"]),
    (Kind.COMPACTED, ["_compact.json"]),
    (Kind.TRAINING, ["train.json"]),
    (Kind.DEMO, ["demo.txt"]),
    (Kind.BOARD, ["leaderboard.json"]),
    (Kind.SELECTION, ["pairs.parquet", "summary.json"]),
    (Kind.SCORES, ["scores.parquet", "summary.json"]),
    (Kind.CHECKPOINT, ["config.json", "model.safetensors"]),
    (Kind.CHECKPOINT, ["config.json", "model.safetensors.index.json"]),
    *((Kind.FOLDER, [name]) for name in ("model.safetensors", "model.safetensors.index.json")),  # it lacks config.json
    (Kind.TOKENIZER, ["tokenizer.json"]),
    (Kind.TOKENIZER, ["vocab.json", "merges.txt"]),
    (Kind.IMPORTED, ["annotations.parquet", "manifest.parquet"]),
    *((Kind.DATASET, [name]) for name in ("JPEGImages", "meta_expressions", "meta_expressions.json", "ImageSets")),
    *((Kind.DATASET, [name]) for name in ("Release", "Rename_Images", "davis_text_annotations")),
]
ALL_MARKS = sorted({name for _, marks in MARKERS for name in marks})
COLUMNS: list[tuple[Kind, set[str]]] = [
    (Kind.MANIFEST, {"video_uri", "expression"}),
    (Kind.ANNOTATIONS, {"counts", "object_id"}),
    (Kind.MASKS, {"counts", "expression_id"}),
    (Kind.SCORE_TABLE, {"metric", "value"}),
]
PNG = b"\x89PNG\r\n\x1a\n"
STARTS: list[tuple[Kind, int, bytes]] = [  # kind, offset, bytes
    (Kind.PICTURE, 0, PNG),
    *((Kind.PICTURE, 0, start) for start in (b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"BM")),
    (Kind.PICTURE, 8, b"WEBP"),
    *((Kind.VIDEO, 4, start) for start in (b"ftyp", b"moov", b"mdat", b"wide", b"free")),
    *((Kind.VIDEO, 0, start) for start in (b"\x1aE\xdf\xa3", b"OggS", b"FLV\1", b"\0\0\1\xba", b"\0\0\1\xb3")),
    (Kind.VIDEO, 8, b"AVI "),
    (Kind.TAR, 257, b"ustar"),
    *((Kind.PACKED, 0, start) for start in (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"(\xb5/\xfd", b"7z\xbc\xaf", b"Rar!")),
    *((Kind.PTH, 0, bytes([0x80, protocol])) for protocol in range(2, 6)),
]


def recognise(uri: str) -> Kind:
    """Return what a path or URI holds. Of a file, little more than HEAD_BYTES and the footer of a table are read.

    FILE or FOLDER is what is not known, or is damaged. Addresses of HTTP and members of archives are not opened.
    Raises StorageError if the storage fails.
    """
    uri = storage.absolute(uri)
    if scheme_of(uri) in (*HTTP, *ARCHIVES):
        return Kind.READ_ONLY
    try:
        if storage.is_folder(uri):
            return _folder_kind(uri)
        with storage.open_input(uri) as file:
            return _file_kind(uri, file.read(HEAD_BYTES))
    except FileNotFoundError:
        return Kind.ABSENT
    except StorageError:
        raise
    except PermissionError:
        return Kind.CLOSED
    except OSError:
        return Kind.FILE


def _file_kind(uri: str, head: bytes) -> Kind:
    if not head:
        return Kind.EMPTY_FILE
    if head.startswith(b"PAR1"):
        return _table_kind(uri)
    if head.startswith(b"PK\3\4"):  # the first entry of what torch.save writes is NAME/data.pkl
        return Kind.PTH if b"/data.pkl" in head[30:300] else Kind.ZIP
    for kind, offset, start in STARTS:
        if head[offset:].startswith(start):
            return kind
    if head[:1] == b"G" and head[188:189] == b"G":  # packets of an MPEG transport stream
        return Kind.VIDEO
    if int.from_bytes(head[:8], "little") < 2**30 and head[8:10] == b'{"':
        return Kind.SAFETENSORS
    return _text_kind(head)


def _table_kind(uri: str) -> Kind:
    try:
        with parquet.open_file(uri) as file:
            names = set(file.schema_arrow.names)
    except InputError:
        return Kind.PARQUET
    fitting = [kind for kind, columns in COLUMNS if columns <= names]
    return fitting[0] if len(fitting) == 1 else Kind.PARQUET


def _text_kind(head: bytes) -> Kind:
    encoding = json.detect_encoding(head)
    try:
        text = head.decode(encoding, "strict" if len(head) < HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        text = head.decode("latin-1")  # the job says that it is not UTF-8
    if any(character < " " and character not in "\t\r\n\f" for character in text):
        return Kind.FILE
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    if text.lstrip()[:1] in ("{", "["):
        return Kind.JSONL if len(lines) > 1 and lines[1][:1] == "{" and _is_object(lines[0]) else Kind.JSON
    whole = lines if len(head) < HEAD_BYTES else lines[:-1]
    for kind, separator in ((Kind.TSV, "\t"), (Kind.CSV, ","), (Kind.CSV, ";")):
        if _is_table(whole[:MOST_ROWS] or lines, separator):
            return kind
    return Kind.TEXT


def _is_table(lines: list[str], separator: str) -> bool:
    """Return True if each row has as many values as the first one, at least two: prose has commas too."""
    try:
        counts = {len(row) for row in csv.reader(lines, delimiter=separator)}
    except csv.Error:
        return False
    return len(counts) == 1 and counts.pop() > 1


def _is_object(line: str) -> bool:
    try:
        return isinstance(loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _folder_kind(folder: str) -> Kind:
    names = storage.first_names(folder, MOST_NAMES)
    if not names:
        return Kind.EMPTY_FOLDER
    has_more = len(names) > MOST_NAMES // 2  # hidden ones are among those that were read
    seen = {*names, *(name for name in ALL_MARKS if has_more and storage.exists(storage.join(folder, name)))}
    for kind, marks in MARKERS:
        if seen.issuperset(marks) and not any(is_foreign(storage.join(folder, name)) for name in marks):
            return kind
    if any(name.lower().endswith(SUFFIXES) for name in names):
        return Kind.PARQUETS
    if any(name.lower().endswith(".tar") for name in names):
        return Kind.SHARDS
    return Kind.FOLDER if has_more else _content_kind([storage.join(folder, name) for name in names[:LOOKED_INTO]])


def _content_kind(uris: list[str]) -> Kind:
    """Return the kind of a folder with these files and folders, of which a few are opened."""
    folders = [uri for uri in uris if storage.is_folder(uri)]
    if not folders:
        found = {recognise(uri) for uri in uris}
        return Kind.VIDEOS if Kind.VIDEO in found else Kind.PICTURES if Kind.PICTURE in found else Kind.FOLDER
    for level in range(2):  # VIDEO/FRAME.png, VIDEO/EXPRESSION/FRAME.png
        inner = [storage.join(uri, name) for uri in folders for name in storage.first_names(uri, LOOKED_INTO)]
        for uri in inner:
            if (start := _start(uri)) is not None and _file_kind(uri, start) is Kind.PICTURE:
                return Kind.PNG_TREE if start.startswith(PNG) else Kind.PICTURE_TREE
        folders = [uri for uri in inner if level == 0 and storage.is_folder(uri)][:LOOKED_INTO]
    return Kind.FOLDER


def _start(uri: str) -> bytes | None:
    """Return the first bytes of a file; None for a folder."""
    if storage.is_folder(uri):
        return None
    with storage.open_input(uri) as file:
        return file.read(512)
