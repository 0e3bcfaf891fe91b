"""What protocols say of themselves."""

from pathlib import Path

import pytest

from pipeline.evaluation.metrics.pair_metrics import METRICS
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.summary.attributes import COMPUTED

DOCUMENT = (Path(__file__).parents[3] / "docs" / "protocols.md").read_text()


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_explained_in_80_columns_and_in_the_documentation(protocol):
    text = protocol.explain()
    assert max(map(len, text.splitlines())) <= 80
    assert f"## {protocol.name}\n\n```\n{text}\n```" in DOCUMENT
    for part in ("frames", "void", "matching", "averaging", "metrics", "missing", "source", "definition"):
        assert f"\n{part} " in text
    assert ("not confirmed" in text) == bool(protocol.unconfirmed)


def test_metrics_are_known():
    known = {"J&F", "mAP", *METRICS}
    assert all(set(protocol.metrics) <= known for protocol in PROTOCOLS.values())


def test_computed_attributes_are_documented():
    assert all(f"| `{name}` | {text} |" in DOCUMENT for name, text in COMPUTED.items())
