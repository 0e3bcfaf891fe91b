"""Every command with all its paths on a real S3 server, typed as a user would."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from pipeline.io import storage
from tests.handmade import counted_from_one, run_of_truth
from tests.jobs.test_train import RECIPE
from tests.test_cli import COMMANDS

ELSEWHERE = {"submit", "convert", "segment", "refine", "demo"}  # have their own tests on S3


def put(folder: str | Path, uri: str) -> None:
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            storage.write_bytes(f"{uri}/{path.relative_to(folder)}", path.read_bytes())


@pytest.fixture
def bucket(s3, shapes, checkpoint, tmp_path) -> str:
    """A folder on S3 with everything that the commands read."""
    base = f"{s3}/{tmp_path.name}"
    put(Path(shapes[0]).parent, f"{base}/data")
    put(checkpoint, f"{base}/ckpt")
    manifest, annotations = (f"{base}/data/{Path(path).name}" for path in shapes)
    run_of_truth(f"{base}/truth", *counted_from_one(f"{base}/labels", manifest, annotations))
    storage.write_bytes(f"{base}/recipe.toml", RECIPE.encode())
    storage.write_bytes(f"{base}/rules.txt", b"mean_score >= 0\n")
    video = storage.names(f"{base}/data/videos")[0]
    storage.write_bytes(f"{base}/clips.csv", f"video_uri,expression\ndata/videos/{video},a dog\n".encode())
    mevis_frames = {"expressions": {"0": {"exp": "a cat", "obj_id": [0], "anno_id": [7]}}, "frames": ["00000", "00001"]}
    put_mevis(f"{base}/mevis/valid_u", mevis_frames, tmp_path)
    return base


def put_mevis(root: str, video: dict, folder: Path) -> None:
    from PIL import Image

    from schemas import rle

    Image.new("RGB", (64, 48)).save(folder / "p.jpg")
    for name in video["frames"]:
        storage.write_bytes(f"{root}/JPEGImages/v/{name}.jpg", (folder / "p.jpg").read_bytes())
    mask = {"size": [48, 64], "counts": rle.from_runs([0, 48 * 64], 48, 64).decode()}
    storage.write_bytes(f"{root}/mask_dict.json", json.dumps({"7": [mask] * 2}).encode())
    storage.write_bytes(f"{root}/meta_expressions.json", json.dumps({"videos": {"v": video}}).encode())


LINES = """
import list B/clips.csv --out B/imported
synth --out B/synth --videos 1 --frames 8
check B/data/manifest.parquet --checkpoint B/ckpt
plan B/data/manifest.parquet --checkpoint B/ckpt --short-side 64 --frames-per-second 100
status B/truth
compact B/truth --out B/compacted
audit B/truth --compacted B/compacted
evaluate B/truth B/labels/annotations.parquet --out B/scores --manifest B/labels/manifest.parquet
compare B/scores B/scores
leaderboard add B/board B/scores --name one
leaderboard show B/board
leaderboard export B/board B/board.html
report B/scores --out B/report --against B/scores --media B/data/videos
select B/truth --out B/kept --rules B/rules.txt --manifest B/labels/manifest.parquet --against B/compacted
export submission B/truth --for mevis --out B/mevis.zip
export validate B/mevis.zip --for mevis --manifest B/data/manifest.parquet
export davis B/truth --out B/davis
export coco-video B/truth --out B/coco.json
export review B/truth --out B/review
export overlay B/truth --out B/overlays --limit 1
export webdataset B/truth --out B/shards
train --data B/data/manifest.parquet --annotations B/truth --init B/ckpt --config B/recipe.toml --out B/training
benchmark mevis B/mevis --checkpoint B/ckpt --out B/mevis-out --short-side 64 --window 2
"""


@pytest.mark.s3
@pytest.mark.ray
@pytest.mark.slow
def test_every_command_reads_and_writes_s3(bucket, ray_session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [line.replace("B/", f"{bucket}/") for line in LINES.strip().splitlines()]
    assert [name for name in {*COMMANDS} - ELSEWHERE if not any(line.startswith(f"{name} ") for line in lines)] == []
    for line in lines:
        result = CliRunner().invoke(main, line.split())
        assert result.exit_code == 0, (line, result.output)
    made = "imported/manifest.parquet synth/manifest.parquet truth/_SUCCESS compacted/_compact.json"
    made += " scores/summary.json board.html report/report.html kept/report.html mevis.zip davis/_export.json coco.json"
    made += " review/_export.json overlays/_export.json shards/index.json training/checkpoint/model.safetensors"
    assert [name for name in made.split() if not storage.exists(f"{bucket}/{name}")] == []
    assert not list(tmp_path.glob("s3*"))  # no local folder of that name
