"""Attempts whose process died."""

import json
import os
from dataclasses import asdict, replace

from pipeline.io import storage
from pipeline.runs.attempts import AttemptTracker, Marker

UNIT = "u"
PAIR = ("v", "0")


def die(attempts: AttemptTracker, pair=None, **changes) -> None:
    """Leave the marker of an attempt whose process is gone."""
    marker = Marker(invocation=attempts.invocation, node=attempts.node, pid=2**22 + 1, pair=pair)
    marker = replace(marker, **changes)
    storage.write_bytes(
        f"{attempts.folder}/{UNIT}/{os.urandom(4).hex()}.json", json.dumps(asdict(marker)).encode(), replace=False
    )
