"""Headers of safetensors that name far more tensors than any model has."""

import json
import resource

import pytest
import torch

from model.errors import CheckpointError
from model.referformer.checkpoint import require_weights
from model.referformer.pretrained.source import PretrainedSource
from model.sam.folder import weight_files


def test_a_header_of_a_million_names_is_refused_before_it_takes_memory(tmp_path):
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"a{number}": entry for number in range(100_000)}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (tmp_path / "config.json").write_text("{}")
    doors = (lambda: require_weights(tmp_path, torch.nn.Linear(2, 2)), lambda: PretrainedSource.read(tmp_path))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for door in (*doors, lambda: weight_files(tmp_path)):
        with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged, .* its header alone has \d+ bytes"):
            door()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 2**14  # KiB


def test_the_names_that_do_not_fit_are_listed_as_far_as_anybody_reads(tmp_path):
    header = json.dumps({f"a{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(5000)}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match="and 4002 more\n5002 names do not fit"):
        require_weights(tmp_path, torch.nn.Linear(2, 2))
