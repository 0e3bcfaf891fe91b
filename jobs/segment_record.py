"""The record in run.json of the command that created a run: enough to repeat the run."""

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from jobs.config.segment import SegmentConfig
from jobs.segment_options import checkpoint_of
from pipeline.io import storage
from schemas.shown import without_secrets
from schemas.version import __version__

PACKAGES = ("av", "decord2", "numpy", "pillow", "pyarrow", "pycocotools", "ray", "torch", "transformers")
OF_ONE_COMMAND = ("shard", "on_finish")  # options that say nothing about the run


def record_of(config: SegmentConfig) -> dict:
    """Return options with absolute paths, the date, and versions."""
    absolute = {name: without_secrets(storage.absolute(getattr(config, name))) for name in ("manifest", "run")}
    record = record_with(asdict(config) | absolute | {"checkpoint": without_secrets(checkpoint_of(config))})
    if config.rules:
        record["rules"] = {"name": config.rules, "differences": config.differences}
    return record


def record_with(options: dict) -> dict:
    """Return these options, the date, and versions."""
    versions = {"python": platform.python_version(), "refervos": __version__}
    return {
        "config": {name: value for name, value in options.items() if name not in OF_ONE_COMMAND},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions | {name: _installed(name) for name in PACKAGES},
    }


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
