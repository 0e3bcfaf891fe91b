"""`rvos demo`: the whole path on its own data, and no folder of somebody else's touched."""

import json

import numpy as np
import pytest
from PIL import Image

from jobs import demo
from jobs.demo import DemoConfig, write_untrained_checkpoint
from model.checkpoint import check_checkpoint, load_model, weights_digest
from schemas.errors import InputError


def test_the_untrained_checkpoint_is_small_and_the_same_each_time(tmp_path):
    for name in ("one", "two"):
        write_untrained_checkpoint(str(tmp_path / name))
        check_checkpoint(tmp_path / name)
    assert weights_digest(tmp_path / "one") == weights_digest(tmp_path / "two")
    assert 1e6 < sum(parameter.numel() for parameter in load_model(tmp_path / "one").parameters()) < 2e6


@pytest.mark.parametrize("what", ["folder", "file"])
def test_other_folders_are_left_alone(tmp_path, what):
    mine = tmp_path / "out" / "mine.txt" if what == "folder" else tmp_path / "out"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match="holds something else; give a new folder"):
        demo.run(DemoConfig(out=str(tmp_path / "out")))
    assert mine.read_text() == "mine"


@pytest.mark.slow
@pytest.mark.ray
def test_demo_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        result = demo.run(DemoConfig())
        assert result.out == str(tmp_path / "rvos-demo")
        assert result.exit_code == 0
        assert "UNTRAINED" in result.text()
        assert json.loads(json.dumps(result.to_json()))["trained"] is False
        assert np.asarray(Image.open(result.picture)).std() > 10
    assert result.segmented.there_before == 0
