"""File systems of fsspec, and their errors as OSError or StorageError. The only user of fsspec.

`s3://` is served by s3fs, which takes endpoint and keys from the usual AWS environment. An error becomes OSError if it
concerns one file, and StorageError if it concerns the storage: no answer after all retries, access denied, no bucket.
"""

import contextlib
import errno
import functools
import os
import socket
from collections.abc import Iterator
from typing import Any

import fsspec

from schemas.errors import InputError, ServerError, StorageError
from schemas.shown import shown
from schemas.uri import ARCHIVES, ENDPOINTS, HTTP, KEYS_HINT, parse, require_plain_endpoint, scheme_of

S3 = ("s3://", "s3a://")
# botocore repeats each request: 46 s of waiting on average, 83 at most, between the eight attempts.
RETRIES = {"retries": {"mode": "standard", "total_max_attempts": 8}, "connect_timeout": 10, "read_timeout": 30}
# Error codes of S3 that concern the access as a whole: another file would fail in the same way.
ACCESS_CODES = {
    "AccessDenied", "AllAccessDisabled", "AuthorizationHeaderMalformed", "ExpiredToken", "InvalidAccessKeyId",
    "InvalidToken", "NoSuchBucket", "SignatureDoesNotMatch", "TokenRefreshRequired",
}  # fmt: skip
ERRNOS = {PermissionError: errno.EACCES, FileNotFoundError: errno.ENOENT, FileExistsError: errno.EEXIST}


@contextlib.contextmanager
def filesystem(uri: str) -> Iterator[fsspec.AbstractFileSystem]:
    """Yield the file system of `uri`. Errors of its backend leave the block as OSError or StorageError.

    Raises InputError if no backend serves the scheme, or if the endpoint of S3 contains a user name.
    """
    is_s3 = uri.startswith(S3)
    if is_s3:
        require_plain_endpoint()
    scheme = scheme_of(parse(uri))
    if scheme in (*HTTP, *ARCHIVES):
        raise InputError(
            f"{shown(uri)}: {scheme}:// can only be read, file by file; name a local folder or one on s3://"
        )
    try:
        fs = fsspec.filesystem(scheme, **(_s3_options() if is_s3 else {}))
    except (ValueError, ImportError, TypeError) as error:  # TypeError: the backend needs more than a URI
        raise InputError(f"{shown(uri)}: no storage backend for '{scheme}://': {error}") from None
    except Exception as error:
        if not _is_backend(error):
            raise
        raise StorageError(f"{shown(uri)}: the AWS settings are not usable: {error}; {KEYS_HINT}") from None
    if is_s3:
        fs.retries = 1  # botocore repeats requests; s3fs would multiply them, up to 25 times
    try:
        yield fs
    except (InputError, StorageError):
        raise
    except Exception as error:
        if not _is_backend(error) and not isinstance(error, OSError):
            raise
        raise _translated(_with_reason(fs, uri, error) if is_s3 else error, uri) from None


def _is_backend(error: Exception) -> bool:
    return type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp", "s3fs"))


@functools.cache
def _s3_options() -> dict[str, Any]:
    """Options of s3fs: retries, and anonymous access (to public buckets) if the environment has no keys."""
    import botocore.session

    anonymous = botocore.session.get_session().get_credentials() is None
    # A cached listing would hide commits of other processes.
    return {"anon": anonymous, "config_kwargs": RETRIES, "use_listings_cache": False}


def _with_reason(fs: Any, uri: str, error: Exception) -> Exception:
    """Return `error`, or one that says more: an answer to HEAD has no reason, and hides that a bucket is missing."""
    code, _ = answer_of(error)
    try:
        if code in ("400", "403"):
            fs.cat_file(uri, start=0, end=1)
        elif isinstance(error, FileNotFoundError) and code != "NoSuchKey":
            fs.call_s3("head_bucket", Bucket=fs.split_path(uri)[0])
    except Exception as fuller:
        if isinstance(fuller, FileNotFoundError) and isinstance(error, FileNotFoundError):
            return NoBucketError()
        return fuller
    return error


class UnsupportedError(StorageError):
    """The storage does not know a kind of request (HTTP 501)."""


class NoBucketError(Exception):
    """The bucket of a URI does not exist."""


def _translated(error: Exception, uri: str) -> OSError:
    """Return the OSError of one file, or StorageError if the error concerns every file of the storage."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    (code, status), name = answer_of(error), type(error).__name__
    if isinstance(error, NoBucketError) or code == "NoSuchBucket":
        return ServerError(f"{shown(uri)}: the bucket does not exist; correct the name, or create the bucket")
    if code == "RequestTimeTooSkewed":  # no other server will answer this host either
        return StorageError(
            f"{shown(uri)}: the clock of host {socket.gethostname()} is wrong: {reason} Set it (NTP), then repeat the "
            "command"
        )
    archived = code == "InvalidObjectState"  # answered with 403, but concerns this object only
    denied = isinstance(error, PermissionError) and uri.startswith(S3) and not archived
    if denied or code in ACCESS_CODES or name in ("NoCredentialsError", "PartialCredentialsError"):
        return ServerError(f"{shown(uri)}: the storage denies access: {reason} ({code or 'no keys'}); {KEYS_HINT}")
    known = next((number for kind, number in ERRNOS.items() if isinstance(error, kind)), None)
    busy = status >= 500 or status == 429 or code == "RequestTimeout"
    if status == 501:
        return UnsupportedError(f"{shown(uri)}: the storage does not support this request ({code or status}: {reason})")
    if known or (status and not busy) or name == "ParamValidationError" or not uri.startswith(S3):
        return OSError(known or getattr(error, "errno", None) or errno.EIO, reason, uri)
    server = next((f" at {os.environ[name]}" for name in ENDPOINTS if os.environ.get(name)), "")
    return ServerError(
        f"{shown(uri)}: the storage{server} failed after all retries: {code or name}: {reason}; "
        "check the network, the server and AWS_ENDPOINT_URL, then repeat the command"
    )


def answer_of(error: BaseException) -> tuple[str, int]:
    """Return the error code and HTTP status that S3 sent, "" and 0 if it sent none. s3fs hides them in the cause."""
    for each in (error, error.__cause__):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            status = (response.get("ResponseMetadata") or {}).get("HTTPStatusCode", 0)
            return (response.get("Error") or {}).get("Code", ""), status
    return "", 0
