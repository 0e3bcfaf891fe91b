"""How much is computed at once."""

import pytest
import torch

from model.memory import BatchSizer, is_out_of_memory, sentences_at_once

FRAMES, PIXELS = 8, 8 * 100


class Memory:
    """Full where more than so many pixels are computed at once; remembers what was tried."""

    def __init__(self, pixels: int):
        self.pixels = pixels
        self.tried = []

    def __call__(self, sentences: int, frames_at_once: int | None) -> str:
        self.tried.append((sentences, frames_at_once))
        if sentences * (frames_at_once or FRAMES) * PIXELS // FRAMES > self.pixels:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done"


@pytest.fixture
def batch_sizer(monkeypatch) -> BatchSizer:
    monkeypatch.setattr("model.memory.sentences_at_once", lambda *_: 8)
    return BatchSizer(torch.device("cpu"))


def test_sentences_are_halved_first_and_then_frames(batch_sizer):
    memory = Memory(2 * PIXELS)
    assert batch_sizer.run(memory, PIXELS, FRAMES, 6) == "done"
    assert memory.tried == [(6, None), (3, None), (1, None)]
    memory = Memory(250)
    batch_sizer.run(memory, PIXELS, FRAMES, 6)
    assert memory.tried == [(1, None), (1, 4), (1, 2)]
    assert batch_sizer.halvings == 4
    batch_sizer.run(memory, PIXELS, FRAMES, 6)
    assert memory.tried[3:] == [(1, 2)]  # it is remembered
    assert batch_sizer.halvings == 4


def test_a_window_that_fits_in_no_way_leaves_the_batch_sizer_as_it_was(batch_sizer):
    memory = Memory(10)
    with pytest.raises(torch.OutOfMemoryError):
        batch_sizer.run(memory, PIXELS, FRAMES, 2)
    assert memory.tried == [(2, None), (1, None), (1, 4), (1, 2), (1, 1)]
    assert batch_sizer.max_pixels is None


def test_other_errors_pass(batch_sizer):
    def defect(*_):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        batch_sizer.run(defect, PIXELS, FRAMES)
    assert batch_sizer.halvings == 0


def test_a_gpu_takes_as_many_sentences_as_its_free_memory_promises(monkeypatch):
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 3 * 2**30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2**30)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (8 * 2**30, 80 * 2**30))
    cuda = torch.device("cuda")
    assert sentences_at_once(2**20, cuda) == 10
    assert sentences_at_once(2**30, cuda) == 1
    assert sentences_at_once(2**10, cuda) == 32
    assert sentences_at_once(2**10, torch.device("cpu")) == 1


def test_what_is_out_of_memory():
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
