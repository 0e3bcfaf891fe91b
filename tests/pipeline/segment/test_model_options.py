import pytest
import torch

from model.bundled import BUNDLED
from pipeline.segment import model_options
from pipeline.segment.model_options import ModelOptions


def test_a_model_computes_in_full_fp32(monkeypatch, tmp_path):
    """TF32, which torch or a library may have switched on, is off when an actor loads its model."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    for backend in backends:
        backend.allow_tf32 = True
    monkeypatch.setattr(model_options, "load_segmenter", lambda *_, **options: [each.allow_tf32 for each in backends])
    assert ModelOptions(checkpoint=BUNDLED).load() == [False, False]


@pytest.mark.parametrize(
    ("gpu", "device", "expected"), [(True, "auto", True), (True, "cpu", False), (False, "auto", False)]
)
def test_what_a_gpu_is_compared_with(monkeypatch, gpu, device, expected):
    loaded = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(model_options, "load_segmenter", lambda *_, **options: loaded.append(options))
    load = ModelOptions(checkpoint=BUNDLED, device=device, precision="bf16", compiled=True).reference()
    assert (load is not None) == expected
    if load:
        load()
        assert [(options["device"], options["precision"], options["compiled"]) for options in loaded] == [
            ("cpu", "fp32", False)
        ]
