"""The registries of protocols and metrics, and the texts of protocols."""

import subprocess
import sys
from pathlib import Path

import pytest

from jobs import evaluate
from jobs.config.evaluate import EvaluateConfig
from pipeline.evaluation.metrics.pair_metrics import METRICS, MetricValue, ObjectTrack
from pipeline.evaluation.protocols import PROTOCOLS, Protocol
from pipeline.evaluation.summary.grouping import COMPUTED_ATTRIBUTES

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "protocols.md").read_text()


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_explained_in_80_columns_and_in_the_documentation(protocol):
    text = protocol.explain()
    assert max(map(len, text.splitlines())) <= 80
    assert f"## {protocol.name}\n\n```\n{text}\n```" in DOCUMENT
    for part in ("frames", "void", "matching", "averaging", "metrics", "missing", "source"):
        assert f"\n{part} " in text
    assert ("\ndefinition " in text) == (not protocol.own)
    assert ("not confirmed" in text) == bool(protocol.unconfirmed)


def test_checked_is_said_of_what_a_run_can_give():
    """MeViS: N-acc by another definition; ReVOS: 8-bit arithmetic; the server of Ref-YouTube-VOS is not public."""
    found = {name: dict(protocol.parts()).get("definition", "none") for name, protocol in PROTOCOLS.items()}
    checked = {name for name, text in found.items() if text.startswith("checked against published code")}
    assert checked == {"davis-semisupervised", "ref-davis17", "a2d", "jhmdb", "long-rvos"}
    assert {name for name, text in found.items() if text.startswith("not confirmed: ")} == set(found) - checked - {
        name for name, protocol in PROTOCOLS.items() if protocol.own
    }
    for name, protocol in PROTOCOLS.items():
        assert protocol.confirmed == (name in checked)
        if protocol.rules and protocol.confirmed:
            assert found[name].endswith(f"; to segment as published, use rvos segment --rules {name}")
        assert ("confirmed" in protocol.explain()) == (found[name].startswith("not confirmed"))


def test_metrics_are_known():
    known = {"J&F", "mAP", *METRICS}
    assert all(set(protocol.metrics) <= known for protocol in PROTOCOLS.values())


def test_computed_attributes_are_documented():
    assert all(f"| `{name}` | {text} |" in DOCUMENT for name, text in COMPUTED_ATTRIBUTES.items())


def test_protocols_import_nothing_heavy():
    heavy = {"numpy", "pyarrow", "pandas", "torch", "numba"}
    code = f"import sys, pipeline.evaluation.protocols; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_a_metric_and_a_protocol_are_one_function_and_two_entries(golden, tmp_path, monkeypatch):
    def worst_frame(track: ObjectTrack) -> MetricValue:
        return MetricValue(float(track.j.min()))

    mine = Protocol(name="mine", title="The worst frame", source="this test", metrics=("worst J", "J"))
    monkeypatch.setitem(METRICS, "worst J", worst_frame)
    monkeypatch.setitem(PROTOCOLS, "mine", mine)
    predictions, annotations = (str(golden / "metrics" / f"{name}.parquet") for name in ("pred", "gt"))
    out = str(tmp_path / "out")
    result = evaluate.run(EvaluateConfig(predictions=predictions, annotations=annotations, out=out, protocol="mine"))
    assert (result.pairs["worst J"] <= result.pairs["J"]).all()
    assert result.summary["overall"]["worst J"] == pytest.approx(result.pairs["worst J"].mean())
    assert "mine: The worst frame" in result.text()
