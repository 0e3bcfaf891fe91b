"""Read the masks of A2D-Sentences from HDF5 files, which may hold far more than numbers.

A data set may have its values in any other file of the machine (external storage, virtual sources, external links), may
be packed a thousand times, by filters that are loaded from shared libraries, and may have types of unbounded size. Only
plain numbers in the file itself are read.
"""

import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.video.types import MAX_PIXELS

MAX_INSTANCES = 255
MAX_BYTES = 2**28  # of the values of one file
FILTERS = {1, 2, 3, 4, 5, 6}  # those of HDF5 itself: deflate, shuffle, fletcher32, szip, nbit, scale-offset


def read(h5py: Any, content: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the instances of a frame and their masks, bool [H, W].

    Raises ValueError for a file of another form; h5py raises many kinds for damaged data.
    """
    with h5py.File(io.BytesIO(content), "r") as file:
        instances, masks = _plain(h5py, file, "instance"), _plain(h5py, file, "reMask")
        count, shape = math.prod(instances.shape), masks.shape
        if not 0 < count <= MAX_INSTANCES or len(shape) not in (2, 3) or not 0 < math.prod(shape[-2:]) <= MAX_PIXELS:
            raise ValueError(f"{count} instances with masks of shape {shape}")
        if (len(shape) == 3 and shape[0] != count) or (len(shape) == 2 and count > 1):
            raise ValueError(f"masks of shape {shape} do not fit {count} instances")
        for number, instance in enumerate(instances[()].reshape(-1).tolist()):
            mask = masks[number] if len(shape) == 3 else masks[()]
            yield str(int(instance)), np.asarray(mask).T != 0


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
    made = found.id.get_create_plist()
    filters = {made.get_filter(number)[0] for number in range(made.get_nfilters())}
    if not filters <= FILTERS:
        raise ValueError(f"{name} needs the filters {sorted(filters - FILTERS)}")
    sizes = [math.prod(shape) * found.dtype.itemsize for shape in (found.shape, found.chunks or ())]
    if max(sizes) > MAX_BYTES:
        raise ValueError(f"{name} has {max(sizes)} bytes; at most {MAX_BYTES} are read")
    return found
