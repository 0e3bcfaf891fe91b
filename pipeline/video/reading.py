"""The door of `pipeline.video`: folder or file, local or remote."""

import contextlib
from collections.abc import Iterator

from pipeline import storage
from pipeline.video import file, folder
from pipeline.video.pyav_reader import PyavReader
from pipeline.video.types import Frame, Selection, VideoHeader
from schemas.errors import InputError, MediaError

DECODERS = ("pyav", "decord")

_FILE_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".gif")


def probe(uri: str) -> VideoHeader:
    """Frame count and displayed size of a folder or video file, from its header and first frame.

    Raises MediaError as `read_frames` does for what shows without reading further.
    """
    with _media_errors(uri):
        if _is_folder(uri):
            return folder.probe(uri)
        if storage.is_remote(uri):  # a few ranges of it are enough
            with storage.open_input(uri) as opened, PyavReader(opened, uri) as video:
                return file.probe(video, uri)
        with PyavReader(storage.absolute(uri), uri) as video:
            return file.probe(video, uri)


def read_frames(uri: str, selection: Selection, *, decoder: str = "pyav", allow_short: bool = False) -> Iterator[Frame]:
    """Yield the selected frames in ascending order, one at a time.

    A folder gives its JPEG and PNG files ordered by name (by number where all names are numbers); hidden and other
    files do not count. A video file gives its best video stream with rotation applied; decoding stops after the last
    frame wanted, so damage behind it does not matter. `decoder` ("pyav" or "decord") is for video files only.

    Raises MediaError, `status` and `frame` set, when the source is not there (`missing`), cannot be decoded or changes
    size (`corrupt`), has no such frame or an absurd size (`bad_row`). `short_read`: fewer frames decode than are asked
    for, or than the header promises where all are asked for. It comes after the good frames; `allow_short` makes them
    the result, if there are any.
    """
    if decoder not in DECODERS:
        raise InputError(f"no decoder '{decoder}'; there are {', '.join(DECODERS)}")
    with _media_errors(uri):
        if _is_folder(uri):
            yield from folder.read(uri, selection)
            return
        with storage.local_file(uri) as path, _open(path, uri, decoder) as video:
            yield from file.read(video, uri, selection, allow_short)


def _open(path: str, uri: str, decoder: str) -> file.VideoReader:
    if decoder == "pyav":
        return PyavReader(path, uri)
    from pipeline.video.decord_reader import DecordReader  # decord is loaded only when chosen

    return DecordReader(path, uri)


def _is_folder(uri: str) -> bool:
    if storage.is_remote(uri) and uri.lower().endswith(_FILE_SUFFIXES):
        return False  # saves a request, and keeps HTTP from fetching the file as if it were a listing
    return storage.is_folder(uri)


@contextlib.contextmanager
def _media_errors(uri: str) -> Iterator[None]:
    """What storage raises about one video, as the error of that video."""
    try:
        yield
    except FileNotFoundError:
        raise MediaError("missing", f"{uri} does not exist; correct video_uri or bring the file there") from None
    except (OSError, InputError) as error:
        raise MediaError("missing", f"{uri} cannot be read: {error}") from error
