"""How URIs look in messages, pages and documents: without user, password, query and fragment."""

import json
import re
from typing import Any

from schemas.printable import printable

HIDDEN = "***"
MAX_CHARACTERS = 8192  # of a URI that is looked at
SHOWN_CHARACTERS = 1200  # more than any key on S3
# A URI in a text: up to the next blank or quote, which have an escape in every URI that `schemas.uri` lets in.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}://[^\s'\"<>]*")
_QUERY = re.compile(r"\?[\w.~%-]{1,64}=[^\s\"]*")
_SECRET = re.compile(
    r"(?i)\b(x-amz-[a-z-]{1,32}|signature|sig|awsaccesskeyid|access_?token|key-pair-id)=(?!\*)[^\s&\"]+"
)
_LONG_WORD = re.compile(rf"(\S{{100}})\S{{{SHOWN_CHARACTERS},}}")
_LONG_LINE = re.compile(r"([^\n]{16384})[^\n]+")
_HOST = re.compile(r"[^@:\[\]]*(:\d{0,5})?|\[[0-9A-Fa-f:.]*\](:\d{0,5})?")


def shown(uri: str) -> str:
    """Return a path or URI as people may see it: printable, without user, password, query and fragment."""
    if len(uri) > MAX_CHARACTERS:
        uri = f"{uri[:100].partition('?')[0]}..."
    scheme, mark, rest = uri.partition("://")
    if mark and "/" not in scheme:
        archive, chain, inner = rest.partition("::")
        if chain and scheme.lower() in ("tar", "zip"):
            uri = f"{scheme}://{archive}::{shown(inner)}"
        else:
            uri = f"{scheme}://{_without_query(_without_user(rest, scheme.lower().startswith('s3')))}"
    uri = uri if len(uri) <= SHOWN_CHARACTERS else f"{uri[:100]}..."
    return printable(uri).replace("\n", r"\n").replace("\t", r"\t")


def without_secrets(text: str) -> str:
    """Return `text` with each URI in it as `shown`."""
    text = _URI.sub(_shown_in_text, text)
    return _SECRET.sub(rf"\1={HIDDEN}", _QUERY.sub(f"?{HIDDEN}", text))


def bounded(text: str) -> str:
    """Return a text for people with its long words and lines cut: names of a megabyte would fill the terminal."""
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return _LONG_LINE.sub(r"\1...", _LONG_WORD.sub(r"\1...", text))


def shown_json(document: Any, **options: Any) -> str:
    """Return `json.dumps` of a document, indented, with its URIs as `shown`."""
    return without_secrets(json.dumps(document, indent=2, **options))


def _shown_in_text(found: re.Match[str]) -> str:
    uri = found[0].rstrip(".,;:)]")  # they end the sentence
    return shown(uri) + found[0][len(uri) :]


def _without_user(rest: str, is_bucket: bool) -> str:
    host = re.split("[/?#]", rest, maxsplit=1)[0]
    if _HOST.fullmatch(host) and not (is_bucket and ":" in host):
        return rest
    # Keys may have any character, `/` and `?` among them.
    _, at, place = rest.rpartition("@")
    return f"{HIDDEN}@{place}" if at else HIDDEN + rest[len(host) :]


def _without_query(rest: str) -> str:
    path = re.split("[?#]", rest, maxsplit=1)[0]
    return path if len(path) == len(rest) else f"{path}?{HIDDEN}"
