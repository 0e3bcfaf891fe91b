"""The door of `pipeline.video`: folder, image or video file, local or remote."""

import contextlib
from collections.abc import Iterator
from typing import Self

from pipeline.io import storage
from pipeline.video import file, folder, image
from pipeline.video.pyav_reader import PyavReader
from pipeline.video.types import Frame, Selection, VideoHeader
from schemas.errors import InputError, MediaError, StorageError

DECODERS = ("pyav", "decord")

FILE_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".gif")


def probe(uri: str) -> VideoHeader:
    """Frame count and displayed size of a folder, image or video file, from its header and first frame.

    Raises MediaError as `read_frames` does for what shows without reading further.
    """
    with _media_errors(uri):
        if _is_folder(uri):
            return folder.probe(uri)
        if image.is_image(uri):
            return image.probe(uri)
        if storage.is_remote(uri):  # a few ranges of it are enough
            with storage.open_input(uri) as opened, PyavReader(opened, uri) as video:
                return file.probe(video, uri)
        with PyavReader(storage.absolute(uri), uri) as video:
            return file.probe(video, uri)


class LastFile:
    """The local copy of the last remote file that was read, for those who read it again. Used as a context manager."""

    def __init__(self) -> None:
        self._uri: str | None = None
        self._path = ""
        self._copy = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._uri = None
        self._copy.close()

    def path(self, uri: str) -> str:
        """A local path with the content of `uri`, until another one is asked for. Raises as `storage.local_file`."""
        if uri != self._uri:
            self.__exit__()
            self._path = self._copy.enter_context(storage.local_file(uri))
            self._uri = uri
        return self._path


def read_frames(
    uri: str,
    selection: Selection,
    *,
    decoder: str = "pyav",
    allow_short: bool = False,
    copy: LastFile | None = None,
) -> Iterator[Frame]:
    """Yield the selected frames in ascending order, one at a time.

    A folder gives its JPEG and PNG files ordered by name (by number where all names are numbers); hidden and other
    files do not count. A JPEG or PNG file is a video of one frame. A video file gives its best video stream with
    rotation applied; decoding stops after the last frame wanted, so damage behind it does not matter. `decoder` ("pyav"
    or "decord") is for video files only. With `copy`, a remote file is fetched once while no other is read between.

    Raises StorageError if it is the storage that fails, not the video.
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
        if image.is_image(uri):
            yield from image.read(uri, selection)
            return
        files = contextlib.nullcontext(copy) if copy else LastFile()
        with files as opened, _open(opened.path(uri), uri, decoder) as video:
            yield from file.read(video, uri, selection, allow_short)


def _open(path: str, uri: str, decoder: str) -> file.VideoReader:
    if decoder == "pyav":
        return PyavReader(path, uri)
    from pipeline.video.decord_reader import DecordReader  # decord is loaded only when chosen

    return DecordReader(path, uri)


def _is_folder(uri: str) -> bool:
    is_file = image.is_image(uri) or storage.file_name(uri).lower().endswith(FILE_SUFFIXES)
    if storage.is_remote(uri) and is_file:
        return False  # saves a request, and keeps HTTP from fetching the file as if it were a listing
    return storage.is_folder(uri)


@contextlib.contextmanager
def _media_errors(uri: str) -> Iterator[None]:
    """What storage raises about one video, as the error of that video."""
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError:
        raise MediaError("missing", f"{uri} does not exist; correct video_uri or bring the file there") from None
    except (OSError, InputError) as error:
        raise MediaError("missing", f"{uri} cannot be read: {error}") from error
