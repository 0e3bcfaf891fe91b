"""One of each kind, added as docs/extending.md says: the code of the page and a line in a registry."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest

from jobs import evaluate, export, import_dataset
from jobs.config.evaluate import EvaluateConfig
from jobs.config.export import FORMATS, ExportConfig, Format
from jobs.config.import_dataset import ImportConfig
from jobs.config.options import command_config
from model.families import FAMILIES, check_checkpoint, load_segmenter
from pipeline.datasets.registry import DATASETS, Dataset
from pipeline.evaluation.metrics.pair_metrics import METRICS
from pipeline.evaluation.protocols import PROTOCOLS, Protocol
from tests.handmade import run_of_truth

PAGE = (Path(__file__).resolve().parents[1] / "docs/extending.md").read_text()


@pytest.fixture
def mine(monkeypatch, request) -> ModuleType:
    """The example below the heading `request.param`, as a module `mine`."""
    section = PAGE.partition(f"## {request.param}\n")[2].partition("\n## ")[0]
    module = ModuleType("mine")
    exec(compile("".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL)), "mine", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "mine", module)
    return module


@pytest.mark.parametrize("mine", ["A data set"], indirect=True)
def test_a_data_set(mine, tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "mine", Dataset(reader="mine:read", layout="any folder"))
    result = import_dataset.run(ImportConfig(dataset="mine", root=str(tmp_path), out=str(tmp_path / "data")))
    assert (result.videos, result.pairs, result.mask_rows) == (1, 1, 1)
    assert pq.read_table(tmp_path / "data/manifest.parquet")["weather"].to_pylist() == ["rain"]


@pytest.mark.parametrize("mine", ["A metric"], indirect=True)
def test_a_metric_and_a_protocol(mine, shapes, tmp_path, monkeypatch):
    protocol = Protocol(name="mine", title="My benchmark", source="this test", metrics=("J&F", "J", "F", "worst J"))
    monkeypatch.setitem(METRICS, "worst J", mine.worst_frame)
    monkeypatch.setitem(PROTOCOLS, "mine", protocol)
    run_of_truth(str(tmp_path / "run"), *shapes)
    out = str(tmp_path / "scores")
    evaluate.run(EvaluateConfig(predictions=str(tmp_path / "run"), annotations=shapes[1], out=out, protocol="mine"))
    scores = pq.read_table(f"{out}/scores.parquet").to_pylist()
    assert {row["value"] for row in scores if row["metric"] == "worst J"} == {1.0}


@pytest.mark.parametrize("mine", ["An export"], indirect=True)
def test_an_export(mine, shapes, tmp_path, monkeypatch):
    @command_config
    class IdsConfig(ExportConfig):
        """Write ids."""

    monkeypatch.setattr(export, "FORMATS", [*FORMATS, Format("ids", IdsConfig, "mine:write_ids", to_folder=False)])
    run_of_truth(str(tmp_path / "run"), *shapes)
    result = export.run(IdsConfig(run=str(tmp_path / "run"), out=str(tmp_path / "ids.txt")))
    assert result.counts == {"pairs": 9}
    assert (tmp_path / "ids.txt").read_text().startswith("video_id=shapes-0000 expression_id=0\n")


@pytest.mark.parametrize("mine", ["A model family"], indirect=True)
def test_a_model_family(mine, tmp_path, monkeypatch):
    monkeypatch.setitem(FAMILIES, "mine", "mine")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mine"}))
    assert check_checkpoint(tmp_path).family == "mine"
    assert type(load_segmenter(tmp_path, device="cpu")) is mine.LeftHalf
