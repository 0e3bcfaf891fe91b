"""Name what was saved in place of a file: a pointer of Git LFS, a packed copy, the web page of a login, an error."""

import re

HEAD_BYTES = 4096  # that tell it
WANTED = "use a video file, an image, or a folder of images"
_PACKED = (
    ("gzip", b"\x1f\x8b"), ("bzip2", b"BZh"), ("xz", b"\xfd7zXZ\0"), ("zstd", b"\x28\xb5\x2f\xfd"),
    ("lz4", b"\x04\x22\x4d\x18"), ("compress", b"\x1f\x9d"), ("7-Zip", b"7z\xbc\xaf\x27\x1c"), ("RAR", b"Rar!\x1a\x07"),
)  # fmt: skip
_ENCRYPTED = (b"Salted__", b"age-encryption.org/", b"-----BEGIN PGP MESSAGE", b"-----BEGIN AGE ENCRYPTED")
_LINKS = (b"XSym\n", b"!<symlink>", b"IntxLNK\1")  # of macOS on SMB, of Cygwin, of Services for Unix
_LFS = re.compile(rb"version https://(git-lfs|hawser)\.github\.com/spec/")
_ANNEX = re.compile(rb"[^\n]{0,1000}/annex/objects/")  # also where a link was stored as a text
_XML = rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?>(?:<!--.*?-->\s*)*)"  # what may stand before the first element
_WEB_PAGE = re.compile(_XML + rb"<(!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_ERROR = re.compile(_XML + rb"<Error\b[^>]*>\s*(?:<Code>\s*([A-Za-z0-9]{1,60})\s*</Code>)?", re.DOTALL)
_DASH = re.compile(_XML + rb"<MPD\b", re.DOTALL)
_TABLES = (
    ("an Arrow (Feather) file", b"ARROW1"), ("an Arrow stream", b"\xff\xff\xff\xff"), ("an ORC file", b"ORC"),
    ("an Avro file", b"Obj\1"), ("an SQLite database", b"SQLite format 3\0"),
    ("an HDF5 file", b"\x89HDF\r\n\x1a\n"),
    ("a spreadsheet or zip archive", b"PK\3\4"), ("an old spreadsheet", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
)  # fmt: skip
_OTHER = (  # what nobody takes for a table or a text either
    ("a NumPy array", b"\x93NUMPY"), ("an HDF5 file", b"\x89HDF\r\n\x1a\n"), ("a Parquet file", b"PAR1"),
    ("a PDF", b"%PDF-"), ("a link to a web page", b"[InternetShortcut]"), ("a torrent", b"d8:announce"),
    ("the resource fork of a file of macOS", b"\0\x05\x16\x07"), ("a JPEG picture", b"\xff\xd8\xff"),
    ("a PNG picture", b"\x89PNG\r\n\x1a\n"), ("a TIFF picture", b"II*\0"), ("a TIFF picture", b"MM\0*"),
)  # fmt: skip


def stand_in(head: bytes) -> str | None:
    """Return what stands in place of a file of any form, and the way out; None if `head`, its start, does not tell.

    The text follows "is not a ..., but". It shows nothing of the content but the code of an error.
    """
    if _LFS.match(head):
        return "a pointer of Git LFS; fetch the file with 'git lfs pull'"
    if _ANNEX.match(head):
        return "a pointer of git-annex; fetch the file with 'git annex get' (DataLad: 'datalad get')"
    if found := next((name for name, start in _PACKED if head.startswith(start)), None):
        return f"a file packed with {found}; unpack it"
    if head.startswith(_ENCRYPTED):
        return "an encrypted file; decrypt it"
    if head.startswith(_LINKS):
        return "a link of another file system, stored as a text; copy the file that it names"
    if _WEB_PAGE.match(head):
        return "a web page, as of a login or an error; download the file again, signed in or from its direct link"
    if found := _ERROR.match(head):
        code = f" ({found[1].decode()})" if found[1] else ""
        return f"the error of a storage{code}; download the file again, with valid keys or a new signature"
    return None


def in_place_of_table(head: bytes) -> str | None:
    """Return what a file that is no Parquet and no text is instead, and the way out, as `stand_in`."""
    if found := stand_in(head):
        return found
    found = next((name for name, start in _TABLES if head.startswith(start)), None)
    found = "a DuckDB database" if head[8:12] == b"DUCK" else found
    return f"{found}; save it as Parquet, or as CSV where that is read" if found else None


def in_place_of_video(head: bytes) -> str | None:
    """Return what a file that does not open as a video is instead, and the way out, as `stand_in`."""
    if found := stand_in(head):
        return found
    if head.startswith(b"#EXTM3U") or _DASH.match(head):
        return "a playlist, which only names a stream; download the stream itself, for example with ffmpeg"
    if head.startswith(b"PK\3\4"):
        return "a zip archive; unpack it, or give a member as zip://MEMBER::ARCHIVE"
    if head[257:262] == b"ustar":
        return "a tar archive; give a member as tar://MEMBER::ARCHIVE"
    if found := next((name for name, start in _OTHER if head.startswith(start)), None):
        return f"{found}; {WANTED}"
    if not head.strip(b"\0"):
        return "zeros only, as of a copy that did not finish; copy it again"
    return f"text; {WANTED}" if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    for encoding in ("utf-8", "utf-16") if head[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8",):
        text = head.decode(encoding, "ignore")
        lost = len(head) - len(text.encode(encoding if encoding == "utf-8" else "utf-16-le"))
        if lost <= 3 and not any(character < " " and character not in "\t\r\n\f\x1b" for character in text):
            return True
    return False
