"""Read the masks of A2D-Sentences from HDF5 files, which may hold far more than numbers.

A data set may have its values in any other file of the machine (external storage, virtual sources, external links), may
be packed a thousand times, twice over, by filters that are loaded from shared libraries, and may have types of
unbounded size. HDF5 unpacks a chunk to whatever it holds, and keeps a record of each chunk that a shape makes. Only
plain numbers in the file itself are read, once all chunks are known to unpack to the bytes that they state.
"""

import io
import math
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.video.types import MAX_PIXELS

MAX_INSTANCES = 255
MAX_BYTES = 2**28  # of the values of one file
MAX_CHUNKS = 2**17  # of a data set; HDF5 takes some 500 bytes for each
DEFLATE = 1
FILTERS = {DEFLATE, 2, 3}  # shuffle and fletcher32, which change no size; the sizes of others are in their parameters
CHECKSUM_BYTES = 4  # of fletcher32
_one_at_a_time = threading.Lock()  # videos are read in parallel, and HDF5 reads one file at a time


def read(h5py: Any, content: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the instances of a frame and their masks, bool [H, W].

    Raises ValueError for a file of another form; h5py raises many kinds for damaged data.
    """
    with _one_at_a_time, h5py.File(io.BytesIO(content), "r") as file:
        instances, masks = _plain(h5py, file, "instance"), _plain(h5py, file, "reMask")
        count, shape = math.prod(instances.shape), masks.shape
        if not 0 < count <= MAX_INSTANCES or len(shape) not in (2, 3) or not 0 < math.prod(shape[-2:]) <= MAX_PIXELS:
            raise ValueError(f"{count} instances with masks of shape {shape}")
        if (len(shape) == 3 and shape[0] != count) or (len(shape) == 2 and count > 1):
            raise ValueError(f"masks of shape {shape} do not fit {count} instances")
        values = np.asarray(masks[()]).reshape(-1, *shape[-2:])  # all at once: a chunk may belong to every instance
        for instance, mask in zip(instances[()].reshape(-1).tolist(), values, strict=True):
            yield str(int(instance)), mask.T != 0


def _plain(h5py: Any, file: Any, name: str) -> Any:
    """Return a data set of `file` whose values are numbers, few enough, and in the file itself."""
    if name not in file:
        raise ValueError(f"the data set {name} is missing")
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link to elsewhere")
    if not isinstance(found := file[name], h5py.Dataset):
        raise ValueError(f"{name} is not a data set")
    if found.is_virtual or found.external:
        raise ValueError(f"the values of {name} are in another file")
    if found.dtype.kind not in "biuf" or found.shape is None:
        raise ValueError(f"the values of {name} are not numbers")
    sizes = [math.prod(shape) * found.dtype.itemsize for shape in (found.shape, found.chunks or ())]
    if max(sizes) > MAX_BYTES:
        raise ValueError(f"{name} has {max(sizes)} bytes; at most {MAX_BYTES} are read")
    if found.chunks:
        _check_chunks(found, name, sizes[1])
    return found


def _check_chunks(found: Any, name: str, size: int) -> None:
    """Raise ValueError for filters that can unpack to any size, too many chunks, or one of more than `size` bytes."""
    made = found.id.get_create_plist()
    filters = [made.get_filter(number)[0] for number in range(made.get_nfilters())]
    if not FILTERS.issuperset(filters) or len(set(filters)) < len(filters):
        raise ValueError(f"{name} has the filters {filters}; only deflate, shuffle and fletcher32, each once, are read")
    chunks = math.prod(-(-side // of) for side, of in zip(found.shape, found.chunks, strict=True))
    if max(chunks, found.id.get_num_chunks()) > MAX_CHUNKS:
        raise ValueError(f"{name} has {chunks} chunks; at most {MAX_CHUNKS} are read")
    if DEFLATE not in filters:
        return
    for number in range(found.id.get_num_chunks()):
        place = found.id.get_chunk_info(number).chunk_offset
        skipped, packed = found.id.read_direct_chunk(place)
        if skipped >> filters.index(DEFLATE) & 1:
            continue
        unpacker = zlib.decompressobj()
        unpacker.decompress(packed, size + CHECKSUM_BYTES)
        if unpacker.decompress(unpacker.unconsumed_tail, 1):
            raise ValueError(f"a chunk of {name} has more than the {size} bytes that its shape states")
