"""Small data sets on disk, written by hand in the layouts that are published."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image
from pycocotools import mask as coco

from cli import main
from jobs import evaluate, import_dataset
from pipeline.io.manifest import read_manifest
from schemas import rle
from schemas.masks import PREDICTIONS

SIZE = (6, 8)  # height, width of all frames


@pytest.fixture
def write_frames() -> Callable[..., Path]:
    """write_frames(folder, names, suffix="jpg"): black frames of 6 x 8."""

    def write(folder: Path, names: Iterable[str], suffix: str = "jpg") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(folder / f"{name}.{suffix}")
        return folder

    return write


@pytest.fixture
def write_masks() -> Callable[..., Path]:
    """write_masks(folder, {name: array}): PNGs in gray, or in colour for arrays of three planes."""

    def write(folder: Path, masks: dict[str, np.ndarray]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, mask in masks.items():
            Image.fromarray(mask.astype(np.uint8)).save(folder / f"{name}.png")
        return folder

    return write


@pytest.fixture
def half() -> np.ndarray:
    """bool [6, 8]: the left half."""
    return np.arange(SIZE[1])[None].repeat(SIZE[0], axis=0) < SIZE[1] // 2


@pytest.fixture
def score_itself(tmp_path) -> Callable[..., dict]:
    """score_itself(data_set, root, protocol, **options): import, take the truth as predictions, evaluate.

    Returns the summary. Predicted are all frames that any object of the video is annotated in.
    """

    def score(data_set: str, root: Path, protocol: str, by: tuple[str, ...] = (), **options) -> dict:
        imported = import_dataset.run(
            import_dataset.ImportConfig(dataset=data_set, root=str(root), out=str(tmp_path / "imported"), **options)
        )
        assert imported.manifest is not None
        assert imported.annotations is not None
        masks: dict[tuple, dict] = {}
        for row in pq.read_table(imported.annotations).to_pylist():
            masks.setdefault((row["video_id"], row["frame_index"]), {})[row["object_id"]] = row
        predictions = []
        for pair in read_manifest(imported.manifest).to_pylist():
            for (video_id, index), objects in masks.items():
                if video_id == pair["video_id"]:
                    row = next(iter(objects.values()))
                    of = [objects[key]["counts"] for key in pair["object_ids"] if key in objects]
                    rles = [{"size": [row["height"], row["width"]], "counts": counts} for counts in of if counts]
                    counts = coco.merge(rles)["counts"] if rles else rle.empty(row["height"], row["width"])
                    frame = {"frame_index": index, "frame_name": row["frame_name"], "counts": counts, "score": 1.0}
                    ids = {name: pair[name] for name in ("video_id", "expression_id")}
                    size = {"height": row["height"], "width": row["width"]}
                    predictions.append(ids | size | frame | {"pair_score": 1.0, "status": "ok"})
        path = tmp_path / "predictions.parquet"
        pq.write_table(pa.Table.from_pylist(predictions, schema=PREDICTIONS), path)
        shutil.rmtree(tmp_path / "scores", ignore_errors=True)
        config = evaluate.EvaluateConfig(
            predictions=str(path),
            annotations=imported.annotations,
            manifest=imported.manifest,
            out=str(tmp_path / "scores"),
            protocol=protocol,
            by=by,
        )
        return evaluate.run(config).summary

    return score


@pytest.fixture
def benchmark(tmp_path_factory, checkpoint, ray_session) -> Callable[..., dict]:
    """benchmark(name, root, *options): type `rvos benchmark` twice. Returns the result of the second call.

    The second call must segment nothing and give the same scores.
    """

    def run(name: str, root: Path, *options: str) -> dict:
        words = [
            "benchmark",
            name,
            str(root),
            "--checkpoint",
            checkpoint,
            "--out",
            str(tmp_path_factory.mktemp("benchmark") / "out"),
        ]
        answers = [CliRunner().invoke(main, [*words, "--short-side", "64", "--json", *options]) for _ in range(2)]
        assert [answer.exit_code for answer in answers] == [0, 0], answers[0].output
        first, second = (json.loads(answer.stdout) for answer in answers)
        assert first["segment"]["frames"] > 0
        assert second["segment"]["frames"] == 0
        assert (first["commands"], first["notes"]) == (second["commands"], second["notes"])
        assert first.get("evaluate", {}).get("overall") == second.get("evaluate", {}).get("overall")
        return second

    return run
