"""The commands that tests/chaos/test_steps.py stops. `base` is the folder of one trial, next to that of the inputs."""

from typing import Any

from pipeline.io import storage
from tests.chaos.steps import without_ray

INPUTS = "inputs"
OPTIONS: dict[str, Any] = {"checkpoint": "tiny", "short_side": 32, "window": "4", "unit_frames": 12, "device": "cpu"}


def given(base: str, name: str) -> str:
    """The URI of an input."""
    return storage.join(storage.parent(base), INPUTS, name)


def _segment(base: str, manifest: str, **options: Any) -> None:
    from jobs import segment

    config = segment.SegmentConfig(manifest=given(base, manifest), run=storage.join(base, "run"), **OPTIONS, **options)
    with without_ray():
        segment.run(config, lambda _: None)


def segment(base: str) -> None:
    """One of the videos does not exist."""
    _segment(base, "first.parquet")


def retry(base: str) -> None:
    """The URI of that video is corrected, and the manifest has more rows."""
    _segment(base, "second.parquet", retry_errors="all")


def retry_otherwise(base: str) -> None:
    """The video exists in the end, and is retried with another window."""
    from jobs import segment

    config = segment.SegmentConfig(
        manifest=given(base, "first.parquet"),
        run=storage.join(base, "run"),
        **(OPTIONS | {"window": "3"}),
        retry_errors="missing",
    )
    with without_ray():
        segment.run(config, lambda _: None)


def repair(base: str) -> None:
    _segment(base, "first.parquet", repair=True)


def import_masks(base: str) -> None:
    from jobs import import_masks
    from jobs.config.import_dataset import ImportConfig

    import_masks.run(
        ImportConfig(
            dataset="masks",
            root=given(base, "compacted"),
            manifest=given(base, "second.parquet"),
            out=storage.join(base, "run"),
            allow_local=True,
        )
    )


def compact(base: str) -> None:
    from jobs import compact

    compact.run(compact.CompactConfig(run=given(base, "run"), out=storage.join(base, "compacted")))


def evaluate(base: str) -> None:
    from jobs import evaluate
    from jobs.config.evaluate import EvaluateConfig

    evaluate.run(
        EvaluateConfig(
            predictions=given(base, "run"),
            annotations=given(base, "annotations.parquet"),
            out=storage.join(base, "scores"),
            protocol="mevis",
            by=("colour",),
            force=True,
        )
    )


def export_webdataset(base: str) -> None:
    _export(base, "webdataset", "shards")


def export_coco(base: str) -> None:
    _export(base, "coco-video", "masks.json")


def _export(base: str, name: str, out: str) -> None:
    from jobs import export
    from jobs.config.export import FORMATS

    form = next(form for form in FORMATS if form.name == name)
    export.run(form.config(run=given(base, "run"), out=storage.join(base, out), allow_local=True))


def audit(base: str) -> None:
    from jobs import audit

    audit.run(audit.AuditConfig(run=storage.join(base, "run")))
