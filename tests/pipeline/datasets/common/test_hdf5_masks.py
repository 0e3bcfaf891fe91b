"""HDF5 files that reach into other files, or are far larger than they look: only plain numbers in the file are read."""

import io
import resource
import tracemalloc
import zlib

import numpy as np
import pytest

from pipeline.datasets.common import hdf5_masks

h5py = pytest.importorskip("h5py", reason="H5PY ABSENT: masks in HDF5 are not tested; pip install -e '.[dev]'")

MASK = np.ones((4, 5), np.uint8)


def file_with(add) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["instance"] = np.array([1])
        add(file)
    return content.getvalue()


def masks(content: bytes) -> dict:
    return dict(hdf5_masks.read(h5py, content))


def test_plain_and_packed_numbers_are_read():
    assert masks(file_with(lambda f: f.create_dataset("reMask", data=MASK)))["1"].shape == (5, 4)
    packed = file_with(
        lambda f: f.create_dataset("reMask", data=MASK, compression="gzip", shuffle=True, fletcher32=True)
    )
    assert masks(packed)["1"].all()


def external(path):
    return lambda f: f.create_dataset("reMask", (4, 5), np.uint8, external=[(str(path), 0, 20)])


def virtual(path):
    layout = h5py.VirtualLayout((4, 5), np.uint8)
    layout[:] = h5py.VirtualSource(str(path), "reMask", (4, 5))
    return lambda f: f.create_virtual_dataset("reMask", layout)


def linked(path):
    return lambda f: f.__setitem__("reMask", h5py.ExternalLink(str(path), "reMask"))


@pytest.mark.parametrize("reach", [external, virtual, linked])
def test_no_other_file_is_read(tmp_path, reach):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["reMask"] = MASK
    with pytest.raises(ValueError, match="in another file|link to elsewhere"):
        masks(file_with(reach(secret)))


ODD = {
    "soft link": lambda f: f.__setitem__("reMask", h5py.SoftLink("/instance")),
    "group": lambda f: f.create_group("reMask"),
    "missing": lambda f: None,
    "texts": lambda f: f.create_dataset("reMask", data=np.full((4, 5), b"x" * 100)),
    "objects": lambda f: f.create_dataset("reMask", (4, 5), h5py.special_dtype(vlen=str)),
    "references": lambda f: f.create_dataset("reMask", (4, 5), h5py.ref_dtype),
    "records": lambda f: f.create_dataset("reMask", (4, 5), np.dtype([("a", np.uint8, 1000)])),
    "complex": lambda f: f.create_dataset("reMask", (4, 5), np.complex64),
    "no value": lambda f: f.create_dataset("reMask", data=h5py.Empty("u1")),
    "scalar": lambda f: f.create_dataset("reMask", data=3),
    "no pixel": lambda f: f.create_dataset("reMask", (0, 5), np.uint8),
    "filter": lambda f: f.create_dataset("reMask", (4, 5), np.uint8, compression="lzf"),
    "wide": lambda f: f.create_dataset("reMask", (60_000, 60_000), np.uint8),
    "many": lambda f: f.create_dataset("reMask", (1, 8_000, 8_000), np.float64),
    "one chunk": lambda f: f.create_dataset("reMask", (4, 5), np.uint8, chunks=(40_000, 10_000), maxshape=(None, None)),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_data_sets_are_refused_before_they_take_memory(name):
    content = file_with(ODD[name])
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"reMask|masks of shape"):
        masks(content)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def packed_chunk(raw: bytes, prepare):
    """Add a data set of one chunk of 64 x 64 bytes, stored as `raw`."""

    def add(file):
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((64, 64))
        prepare(made)
        space = h5py.h5s.create_simple((64, 64))
        stored = h5py.h5d.create(file.id, b"reMask", h5py.h5t.NATIVE_UINT8, space, made)
        stored.write_direct_chunk((0, 0), raw)

    return add


def deflated(times):
    return lambda made: [made.set_deflate(9) for _ in range(times)]


BOMB = zlib.compress(bytes(2**29), 9)
BOMBS = {
    "a chunk that is larger than stated": packed_chunk(BOMB, deflated(1)),
    "a chunk that is packed twice": packed_chunk(zlib.compress(BOMB, 9), deflated(2)),
    "millions of chunks": lambda f: f.create_dataset("reMask", (4096, 4096), np.uint8, chunks=(1, 1)),
    "a filter with a size of its own": lambda f: f.create_dataset("reMask", (64, 64), np.uint8, scaleoffset=0),
}


@pytest.mark.parametrize("name", BOMBS)
def test_chunks_that_unpack_to_any_size_are_refused_before_they_take_memory(name):
    content = file_with(BOMBS[name])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"chunk of reMask has more|reMask has (the filters|16777216 chunks)"):
        masks(content)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 2**16  # KiB


def test_a_chunk_that_was_not_worth_packing_is_read():
    noise = np.random.default_rng(0).integers(0, 2**32, (2, 64, 64), dtype=np.uint32)
    found = file_with(lambda f: f.create_dataset("reMask", data=noise, chunks=(1, 64, 64), compression="gzip"))
    with pytest.raises(ValueError, match="do not fit 1 instances"):
        masks(found)
    one = file_with(lambda f: f.create_dataset("reMask", data=noise[0], chunks=(8, 8), compression="gzip"))
    assert (masks(one)["1"] == (noise[0].T != 0)).all()
