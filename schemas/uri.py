"""Parse paths and URIs where they enter: options, rows of manifests and lists, and documents.

Behind this door a local path is a plain path, and a URI has a known scheme in lower case, no user and no blanks.
"""

import importlib.util
import os
import re
import urllib.parse

from schemas.errors import InputError
from schemas.shown import HIDDEN, shown

MAX_BYTES = 8192
MAX_PORT = 65535  # the system's own functions take a larger one modulo 65536
HTTP = ("http", "https")
ARCHIVES = ("tar", "zip")  # tar://MEMBER::URI
FOREIGN = "foreign"  # marks a local path that a remote manifest names; no file system opens it
SCHEMES = {"s3", "s3a", "gs", *HTTP}
SAFE = "%/:=&?~#+!$,;@()*[]"  # characters of a URL that need no escape; blanks and quotes get one
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_FILE = re.compile(r"(?i)file:(?://([^/]*))?(?=/|$)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BUCKET = re.compile(r"[A-Za-z0-9._-]+")
_HOST = re.compile(r"([A-Za-z0-9._\u00a1-\uffff-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
KEYS_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, use a profile, or give the machine a role"
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def scheme_of(uri: str) -> str:
    """Return the scheme of a URI in lower case, "" for a path. `file:` URIs, too, are paths once parsed."""
    found = _SCHEME.match(uri)
    return found[1].lower() if found else ""


def parse(text: str) -> str:
    """Return a local path, `~` expanded and escapes of `file://` resolved, or a URI. Raises InputError."""
    if len(text) > MAX_BYTES or len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise InputError(f"{text[:40]!a}... has more than {MAX_BYTES} bytes, too many for a path or URI; shorten it")
    if _CONTROL.search(text):
        raise InputError(f"'{shown(text)}' contains a control character; correct the path or URI")
    if found := _FILE.match(text):
        return _parse_file(text, found)
    scheme, rest = scheme_of(text), text.partition("://")[2]
    if not scheme:
        return os.path.expanduser(text)
    if scheme in ARCHIVES:
        return _parse_member(scheme, rest, text)
    if scheme == FOREIGN:
        raise InputError(
            f"{shown(rest)} is on this machine, and a remote manifest or run may not name its files; if this one may, "
            "give --allow-local (of segment: in a new run)"
        )
    if scheme not in SCHEMES:
        raise InputError(
            f"{shown(text)}: scheme '{scheme}' is not supported; use a local path, s3://, gs://, http:// or https://, "
            "or tar:// and zip:// for a member of an archive"
        )
    if scheme == "gs" and importlib.util.find_spec("gcsfs") is None:
        raise InputError(f"{shown(text)}: gs:// requires gcsfs: pip install gcsfs")
    host = re.split("[/?#]", rest, maxsplit=1)[0]
    server = (_HOST if scheme in HTTP else _BUCKET).fullmatch(host)
    if server is None:
        _refuse_host(text, scheme, host)
    elif scheme in HTTP and int((server[2] or ":0")[1:]) > MAX_PORT:
        raise InputError(f"{shown(text)}: the largest port is {MAX_PORT}; correct the URI")
    try:
        return f"{scheme}://{urllib.parse.quote(rest, safe=SAFE) if scheme in HTTP else rest}"
    except UnicodeEncodeError:
        raise InputError(f"'{shown(text)}' is not UTF-8; correct the URI") from None


def without_keys(text: str) -> str:
    """Return the part of a refused URI that a table may keep: without keys, of bounded length, and still refused."""
    kept = shown(text)
    return kept if HIDDEN in kept else text[: MAX_BYTES + 1]


def _refuse_host(text: str, scheme: str, host: str) -> None:
    if "@" in text.partition("://")[2] and ("@" in host or ":" in host):
        hint = KEYS_HINT if scheme not in HTTP else "use a presigned URL"
        raise InputError(
            f"{shown(text)}: do not put user names and keys into a URI, where logs would show them; {hint}"
        )
    what = "host" if scheme in HTTP else "bucket"
    raise InputError(f"{shown(text)}: the name of the {what} is missing or not valid; correct the URI")


def _parse_file(text: str, found: re.Match[str]) -> str:
    """Return the path of `file:/path`, `file:///path` and `file://localhost/path`."""
    if (found[1] or "").lower() not in ("", "localhost"):
        raise InputError(f"{shown(text)}: a file URI cannot name another machine; write file:///PATH")
    try:
        path = urllib.parse.unquote(text[found.end() :], errors="strict")
    except UnicodeDecodeError:
        raise InputError(f"'{shown(text)}' is not UTF-8; correct the URI") from None
    if not path or _CONTROL.search(path):
        raise InputError(f"'{shown(text)}' is not a valid file URI; write file:///PATH")
    return path


def _parse_member(scheme: str, rest: str, text: str) -> str:
    """Return the URI of a member of an archive, whose own URI is parsed."""
    member, chain, archive = rest.partition("::")
    if not chain or not archive:
        raise InputError(f"{shown(text)}: a member of an archive is {scheme}://MEMBER::ARCHIVE")
    if not member.strip("/") or ".." in member.split("/"):
        raise InputError(f"{shown(text)}: {member!r} cannot be a member of an archive; correct the URI")
    archive = parse(archive)
    if scheme_of(archive) in ARCHIVES:
        raise InputError(f"{shown(text)}: an archive within an archive cannot be read; extract the outer one")
    return f"{scheme}://{member}::{archive}"


def require_plain_endpoint() -> None:
    """Raise InputError if the endpoint of S3 contains a user name or a query, with a scheme or without."""
    for name in ENDPOINTS:
        if not set("@?#").isdisjoint(os.environ.get(name, "")):
            raise InputError(
                f"{name}: do not put user names and keys into a URI, where logs would show them; {KEYS_HINT}"
            )


def require_plain_address(address: str) -> None:
    """Raise InputError if the address of a cluster, HOST:PORT, contains a user name or a query."""
    if not set("@?#").isdisjoint(address):
        raise InputError("--address: do not put user names and keys into an address, where logs would show them")


def parse_address(address: str) -> tuple[str, int] | None:
    """Return host and port of a Ray cluster's address, None for "local" and "auto". Raises InputError."""
    require_plain_address(address)
    if address in ("local", "auto"):
        return None
    found = _HOST.fullmatch(address.removeprefix("ray://"))
    port = int(found[2][1:]) if found and found[2] else 0
    if not found or not 0 < port <= MAX_PORT:
        hint = "; the job server is for 'rvos submit --address'" if scheme_of(address) in HTTP else ""
        raise InputError(f"--address must be local, auto or HOST:PORT of the head node, got {shown(address)!r}{hint}")
    return found[1].strip("[]"), port
