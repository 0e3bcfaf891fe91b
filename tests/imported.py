"""Masks that `rvos import masks` brings in, as objects and as typed."""

from click.testing import CliRunner

from cli import main
from jobs import import_masks
from jobs.config.import_dataset import ImportConfig
from tests.segmented import masks

SCORED = ("frame_index", "frame_name", "height", "width", "counts")


def typed(*words) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(map(str, words)))
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def bring_in(root, manifest, out, **options) -> import_masks.ImportMasksResult:
    config = ImportConfig(dataset="masks", root=str(root), manifest=str(manifest), out=str(out), **options)
    return import_masks.run(config)


def columns(folder, names=SCORED) -> list[list]:
    return [masks(folder)[name].to_pylist() for name in names]
