"""Read masks from a zip that may be damaged or made to hurt.

The directory of the zip, each file and the pixels of each image are bounded before memory is taken for them. Nothing is
unpacked to disk.
"""

import io
import struct
import zipfile
import zlib
from typing import BinaryIO, NamedTuple

import numpy as np

from pipeline.io.zip_directory import open_zip, require_streamed
from pipeline.masks.png_file import GRAY, PALETTE, ColourError, read_png
from schemas.errors import InputError, MediaError, StorageError

DIRECTORY_BYTES = 2**27  # of the directory of the zip
MAX_FILES = 1_400_000
MASK_BYTES = 2**26  # of one PNG, unpacked
TOTAL_BYTES = 2**38  # of all files, unpacked
SMALL_BYTES = 2**30  # that any zip may unpack to, and MAX_RATIO times its size more: PNG files hardly shrink
MAX_RATIO = 100
DAMAGED = (  # raised by unpacking
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)


class StoredMask(NamedTuple):
    """One mask of a zip: height and width, its values above 0, and the pixel format of its PNG."""

    size: tuple[int, int]
    values: list[int]
    pixel_format: str


class MaskFault(NamedTuple):
    """A file without a usable mask: "unreadable", or "values" if its pixels are of another kind; and the reason."""

    kind: str
    reason: str


def open_untrusted_zip(file: BinaryIO, uri: str) -> zipfile.ZipFile:
    """Open a zip from `file`; `uri` names it in errors. Raises InputError if it is not a zip, or absurdly large."""
    try:
        archive = open_zip(file, most_bytes=DIRECTORY_BYTES, most_members=MAX_FILES)
    except (zipfile.BadZipFile, struct.error, NotImplementedError, EOFError, ValueError) as error:
        raise InputError(f"{uri} is not the zip of a submission: {error}") from None
    total = sum(file.file_size for file in archive.infolist())
    if total > min(TOTAL_BYTES, SMALL_BYTES + MAX_RATIO * file.seek(0, io.SEEK_END)):
        raise InputError(f"{uri} would unpack to {total / 2**30:,.0f} GiB; this is not a submission")
    return archive


def read_stored_mask(archive: zipfile.ZipFile, file: zipfile.ZipInfo) -> StoredMask | MaskFault:
    """Decode one mask. Raises StorageError if the storage of the zip fails."""
    if file.flag_bits & 1:
        return MaskFault("unreadable", "it is encrypted")
    if file.file_size > MASK_BYTES:
        return MaskFault("unreadable", f"it would unpack to {file.file_size} bytes, too much for a mask")
    try:
        require_streamed(file)
        with archive.open(file) as opened:
            content = opened.read(file.file_size + 1)  # bounded, even if it would unpack to more than it declares
        mask, pixel_format = read_png("", content)
    except StorageError:
        raise
    except ColourError as error:
        return MaskFault("values", f"{error.reason.removeprefix(': ').partition(';')[0]}; {GRAY} is needed")
    except MediaError as error:
        return MaskFault("unreadable", error.reason.removeprefix(": "))
    except DAMAGED as error:
        return MaskFault("unreadable", str(error))
    if pixel_format not in (PALETTE, *(f"{bits}-bit gray" for bits in (1, 2, 4, 8))):
        return MaskFault("values", f"stored as {pixel_format}; {GRAY} is needed")
    values = np.flatnonzero(np.bincount(mask.reshape(-1), minlength=256)[1:]) + 1
    height, width = mask.shape
    return StoredMask((height, width), values.tolist(), pixel_format)
