"""Read a video of any kind: folder, image or video file, local or remote."""

import contextlib
import socket
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from pipeline.io import archive, http, local, storage
from pipeline.io.few_requests import FewRequests
from pipeline.io.local_copy import held_file
from pipeline.video import folder, picture, picture_parts, select_frames
from pipeline.video.memory import is_short_of_memory
from pipeline.video.pyav_reader import PyavReader
from pipeline.video.types import Frame, LeftOut, Selection, VideoHeader
from schemas import advice
from schemas.errors import InputError, MediaError, NotAFileError, StorageError
from schemas.shown import shown

DECODERS = ("pyav", "decord")

FILE_SUFFIXES = (
    ".mp4", ".mov", ".m4v", ".mp4v", ".mpeg4", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx", ".mpg", ".mpeg",
    ".mpe", ".m1v", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".m2t", ".flv", ".f4v", ".wmv", ".asf", ".ogv", ".ogm",
    ".mxf", ".y4m", ".ivf", ".h264", ".264", ".h265", ".265", ".hevc", ".dv", ".rm", ".rmvb", ".wtv", ".nut", ".gif",
)  # fmt: skip


def probe(uri: str) -> VideoHeader:
    """Return frame count and displayed size of a folder, image or video file, from its header and first frame.

    Raises MediaError as `read_frames`, for problems that these show.
    """
    with _media_errors(uri):
        left_out: list[LeftOut] = []
        images = _images(uri, left_out)
        if images is not None:
            if picture.is_animation(uri):
                with picture.Animation(_content(uri), uri) as animation:
                    return _header(animation, uri)
            return replace(folder.probe(uri, images), left_out=tuple(left_out))
        opened = _open_remote(uri) if storage.is_remote(uri) else held_file(uri)
        with opened as source, PyavReader(source, uri) as video:
            return _header(video, uri)


@contextlib.contextmanager
def _open_remote(uri: str) -> Iterator[BinaryIO]:
    """Open a video that is not fetched as a whole. Raises MediaError if it takes too many requests."""
    with storage.open_input(uri) as file:
        yield file if storage.is_local(uri) else FewRequests(file, uri)  # pyright: ignore[reportReturnType]


def _header(video: select_frames.VideoReader, uri: str) -> VideoHeader:
    frame = next(select_frames.read(video, uri, Selection(indices=(0,)), allow_short=False))
    height, width = frame.image.shape[:2]  # only frames contain the rotation
    return VideoHeader(video.num_frames, height, width, left_out=tuple(video.left_out))


def _content(uri: str) -> bytes:
    return storage.read_bytes(uri, limit=picture_parts.MAX_BYTES)


class LastFile(contextlib.AbstractContextManager["LastFile"]):
    """A context manager that keeps the last file open, or the local copy of a remote one, for repeated reading."""

    def __init__(self) -> None:
        self._uri: str | None = None
        self._path = ""
        self._copy = contextlib.ExitStack()

    def __exit__(self, *_: object) -> None:
        self._uri = None
        self._copy.close()

    def path(self, uri: str) -> str:
        """Return a local path with the content of `uri`, valid until the next call with another URI.

        Raises as `held_file`.
        """
        if uri != self._uri:
            self.__exit__()
            self._path = self._copy.enter_context(held_file(uri))
            self._uri = uri
        return self._path


def read_frames(
    uri: str,
    selection: Selection,
    *,
    decoder: str = "pyav",
    allow_short: bool = False,
    copy: LastFile | None = None,
    left_out: list[LeftOut] | None = None,
) -> Iterator[Frame]:
    """Yield the selected frames in ascending order, one at a time.

    A folder yields its image files in natural order; other and hidden files are ignored. An image file is a video of
    one frame, or of the frames of its animation. A video file yields its best video stream, upright. Decoding
    stops after the last selected frame, so damage after it does not matter. `decoder` ("pyav" or "decord") applies to
    video files only. With `copy`, a remote file is fetched once for consecutive calls. What is not read of the folder
    or file is added to `left_out`.

    Raises StorageError if the storage fails, MediaError with one of these statuses if the video does:
    missing     the file or folder does not exist or cannot be read
    corrupt     it cannot be decoded, or its frames differ in size
    bad_row     it has no such frame, or its size is out of bounds
    short_read  it decodes to fewer frames than selected or, if all are selected, is damaged or cut off. Raised after
                the good frames; `allow_short` makes these the result, if there are any.
    """
    if decoder not in DECODERS:
        raise InputError(f"unknown decoder '{decoder}'; choose from {', '.join(DECODERS)}")
    with _media_errors(uri):
        images = _images(uri, left_out)
        if images is not None:
            if picture.is_animation(uri):
                with picture.Animation(_content(uri), uri) as animation:
                    yield from select_frames.read(animation, uri, selection, allow_short, left_out)
            else:
                yield from folder.read(uri, images, selection)
            return
        reader: Callable[[str, str], select_frames.VideoReader] = PyavReader
        if decoder == "decord":
            from pipeline.video.decord_reader import DecordReader  # imported only when chosen

            reader = DecordReader
        files = contextlib.nullcontext(copy) if copy else LastFile()
        with files as opened, reader(opened.path(uri), uri) as video:
            yield from select_frames.read(video, uri, selection, allow_short, left_out)


def _images(uri: str, left_out: list[LeftOut] | None) -> dict[str, str] | None:
    """Return the URI of each frame of a folder or an image, by frame name and in order; None for a video file."""
    is_image = picture.is_image(uri)
    is_file = is_image or storage.file_name(uri).lower().endswith(FILE_SUFFIXES)
    # By its name, a remote file needs no request. Over HTTP, listing it would fetch it.
    if not (is_file and storage.is_remote(uri)) and storage.is_folder(uri):
        return {name: storage.join(uri, image) for name, image in folder.list_frames(uri, left_out).items()}
    return {storage.file_name(uri).rpartition(".")[0]: uri} if is_image else None


@contextlib.contextmanager
def _media_errors(uri: str) -> Iterator[None]:
    """Convert storage errors that concern this video to MediaError."""
    try:
        yield
    except FileNotFoundError as error:
        reason = f"{_absent(uri, error)}; {advice.MISSING.run}{_other_form(uri)}"
        raise MediaError("missing", reason) from None
    except (MemoryError, BlockingIOError) as error:
        if isinstance(error, MemoryError) and not is_short_of_memory(error):
            reason = f"{shown(uri)} asks for more memory than any video needs; replace it with a sound video file"
            raise MediaError("corrupt", reason) from error
        raise StorageError(
            f"{shown(uri)}: not enough memory or threads on host {socket.gethostname()}; use fewer --actors, a larger "
            "machine or higher limits (see ulimit -a), then repeat the command"
        ) from None
    except NotAFileError as error:
        raise MediaError("missing", str(error)) from error
    except InputError as error:
        raise MediaError("bad_row", str(error)) from error
    except OSError as error:
        local.raise_machine_failure(error, uri)
        raise MediaError("missing", f"cannot read {shown(uri)}: {error}") from error


def _absent(uri: str, error: FileNotFoundError) -> str:
    """Return what does not exist: the file, or of a member of an archive, the member or the archive."""
    if not uri.startswith(archive.ARCHIVE):
        why = f" ({error.strerror})" if error.strerror in (http.GONE[410], http.GONE[451]) else ""
        return f"{shown(uri)} does not exist{why}"
    _, member, whole = archive.split(uri)
    if error.strerror == archive.NO_MEMBER:
        return f"{shown(uri)} does not exist: the archive has no member {member!r} (links are not followed)"
    twice = " (if '::' is part of the member's name, write it as %3A%3A)" if "::" in whole else ""
    return f"{shown(uri)} does not exist: there is no archive {shown(whole)}{twice}"


def _other_form(uri: str) -> str:
    """Return a hint for a link to nothing, or for a file whose name looks the same.

    It may have a blank at an end, which lists are read without, the separators of Windows, or another Unicode form,
    since macOS writes accents as characters of their own.
    """
    if not storage.is_local(uri) or "::" in uri:
        return ""
    path = Path(storage.absolute(uri))
    with contextlib.suppress(OSError):
        if path.is_symlink():
            target = str(path.readlink())
            annexed = ", as git-annex keeps files that were not fetched: 'git annex get'"
            return f". It is a link to {target}, which does not exist{annexed if '/annex/objects/' in target else ''}"
    for name in (f"{path.name} ", f" {path.name}"):
        with contextlib.suppress(OSError):
            if path.with_name(name).exists():
                link = path.with_name(name).as_uri()
                return f". There is {name!r}, which has a blank at its end or start; rename it, or write {link}"
    slashed = Path(str(path).replace("\\", "/"))
    with contextlib.suppress(OSError):
        if slashed != path and slashed.exists():
            return f". There is {slashed}; write paths with /, not as on Windows"
    if uri.isascii():
        return ""
    with contextlib.suppress(OSError):
        folder = "/"
        for name in storage.absolute(uri).split("/")[1:]:
            there = storage.names(folder, hidden=True)
            alike = [one for one in there if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", name)]
            if name not in there and alike:
                form = "NFD" if unicodedata.is_normalized("NFD", alike[0]) else "NFC"
                return f". There is {alike[0]!a}, which looks the same, but is in the Unicode form {form}"
            folder = storage.join(folder, name)
    return ""
