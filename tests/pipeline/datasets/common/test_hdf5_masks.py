"""HDF5 files that reach into other files, or are far larger than they look: only plain numbers in the file are read."""

import io
import tracemalloc

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
