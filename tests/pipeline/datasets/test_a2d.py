"""A2D-Sentences: its text files, masks in COCO's form and in HDF5, single annotated frames."""

import builtins
import json

import numpy as np
import pytest

from jobs import import_dataset
from jobs.config.import_dataset import ImportConfig
from model.referformer.tokenizer import load_tokenizer, write_byte_level_tokenizer
from pipeline.datasets import a2d
from pipeline.datasets.common import dataset_video
from pipeline.datasets.common.object_masks import OTHER_SIZE
from pipeline.drawing.write_video import write_mp4
from pipeline.training.examples import TrainingSource, gather_examples
from pipeline.training.loading import BatchLoader
from pipeline.training.recipe import read_recipe
from schemas import rle
from schemas.errors import InputError

H, W = 32, 48
LEFT = np.arange(W)[None].repeat(H, axis=0) < W // 2
SENTENCES = """video_id,instance_id,query
-a,0,"bird, flying left"
-a,1,a cat
-b,0,dog running
missed,0,x
-a,1 (copy),a cat
"""
VIDEOSET = """-a,21,00:01,00:03,320,480,12,3,1
-b,34,00:01,00:03,320,480,9,3,0
missed,34,00:01,00:03,320,480,9,3,0
"""


@pytest.fixture
def root(tmp_path):
    texts, release = tmp_path / "text_annotations", tmp_path / "Release"
    texts.mkdir()
    (release / "clips320H").mkdir(parents=True)
    (texts / "a2d_annotation.txt").write_text(SENTENCES)
    (texts / "a2d_missed_videos.txt").write_bytes(b"\xef\xbb\xbfmissed\r\ncaf\xe9\n")
    (release / "videoset.csv").write_text(VIDEOSET)
    write_mp4(str(release / "clips320H/-a.mp4"), tuple(np.zeros((12, H, W, 3), np.uint8)), fps=12)
    write_mp4(str(release / "clips320H/-b.mp4"), tuple(np.zeros((9, H, W, 3), np.uint8)), fps=12)
    return tmp_path


def write_coco(root, masks: dict[tuple[str, int, str], np.ndarray], **more) -> None:
    """The file of published loaders; frames are counted from 1."""
    annotations = [
        {
            "id": number,
            "image_id": f"v_{video}_f_{frame}_i_{instance}",
            "category_id": 1,
            "segmentation": {"size": [H, W], "counts": rle.encode(mask[None])[0].decode()},
        }
        | more
        for number, ((video, frame, instance), mask) in enumerate(masks.items(), 1)
    ]
    content = {"categories": [{"id": 1, "name": "dummy_class"}], "images": [], "annotations": annotations}
    (root / a2d.COCO).write_text(json.dumps(content))


def write_h5(root, video: str, frame: int, masks: dict[int, np.ndarray]) -> None:
    """As the set has them: transposed, without a first dimension where there is one instance only."""
    h5py = pytest.importorskip("h5py", reason="H5PY ABSENT: masks in HDF5 are not tested; pip install -e '.[dev]'")
    folder = root / "text_annotations/a2d_annotation_with_instances" / video
    folder.mkdir(parents=True, exist_ok=True)
    stacked = np.stack([mask.T for mask in masks.values()]).astype(np.uint8)
    with h5py.File(folder / f"{frame:05d}.h5", "w") as file:
        file["instance"] = np.array([list(masks)], float).reshape(-1)
        file["reMask"] = stacked if len(masks) > 1 else stacked[0]


def test_test_split_with_masks_of_coco(root):
    write_coco(root, {("-a", 1, "0"): LEFT, ("-a", 7, "0"): ~LEFT, ("-a", 7, "1"): LEFT})
    (found,) = a2d.read(str(root), "test")
    assert found.pairs == [
        {
            "video_id": "-a",
            "video_uri": str(root / "Release/clips320H/-a.mp4"),
            "expression_id": instance,
            "expression": text,
            "target_frames": frames,
            "num_frames": 12,
            "object_ids": [instance],
            "split": "test",
            "label": "21",
        }
        for instance, text, frames in (("0", "bird, flying left", ["00000", "00006"]), ("1", "a cat", ["00006"]))
    ]
    rows = found.annotations.to_pylist()
    assert [(row["object_id"], row["frame_index"], row["frame_name"]) for row in rows] == [
        ("0", 0, "00000"), ("0", 6, "00006"), ("1", 6, "00006"),
    ]  # fmt: skip
    np.testing.assert_array_equal(rle.decode(rows[1]["counts"], H, W), ~LEFT)
    assert [what for what, _ in found.warnings] == [a2d.NO_NUMBER]
    assert not found.problems


def test_a_pair_for_each_annotated_frame(root):
    write_coco(root, {("-a", 1, "0"): LEFT, ("-a", 7, "0"): LEFT, ("-a", 12, "0"): LEFT, ("-a", 12, "1"): LEFT})
    (found,) = a2d.read(str(root), "test", context=5)
    assert [(pair["expression_id"], pair["target_frames"], pair["frame_indices"]) for pair in found.pairs] == [
        ("0_00000", ["00000"], [0, 1, 2]),
        ("0_00006", ["00006"], [4, 5, 6, 7, 8]),
        ("0_00011", ["00011"], [9, 10, 11]),
        ("1_00011", ["00011"], [9, 10, 11]),
    ]


def test_masks_of_hdf5(root):
    write_h5(root, "-a", 3, {0: LEFT, 1: ~LEFT})
    write_h5(root, "-a", 9, {1: LEFT})
    first, second = a2d.read(str(root))
    assert [pair["target_frames"] for pair in first.pairs] == [["00002"], ["00002", "00008"]]
    rows = first.annotations.to_pylist()
    assert [(row["object_id"], row["frame_index"]) for row in rows] == [("0", 2), ("1", 2), ("1", 8)]
    for row, mask in zip(rows, (LEFT, ~LEFT, LEFT), strict=True):
        np.testing.assert_array_equal(rle.decode(row["counts"], H, W), mask)
    assert (second.video_id, second.pairs[0]["split"], second.pairs[0]["target_frames"]) == ("-b", "train", None)
    assert [what for what, _ in second.warnings] == [a2d.NO_MASKS]


def test_broken_hdf5(root):
    write_h5(root, "-a", 3, {0: LEFT, 1: ~LEFT})
    (root / "text_annotations/a2d_annotation_with_instances/-a/00004.h5").write_bytes(b"no HDF5")
    found, _ = a2d.read(str(root))
    assert "00004.h5: the masks cannot be read" in found.problems[0]


def test_without_h5py(root, monkeypatch):
    """The annotated frames are known by the names of their files."""
    folder = root / "text_annotations/a2d_annotation_with_instances/-b"
    folder.mkdir(parents=True)
    for frame in (2, 5):
        (folder / f"{frame:05d}.h5").write_bytes(b"")
    original = builtins.__import__
    monkeypatch.setattr(a2d.importlib, "import_module", lambda name: original("no_such_module_as_h5py"))
    (found,) = a2d.read(str(root), "train")
    assert found.pairs[0]["target_frames"] == ["00001", "00004"]
    assert [what for what, _ in found.warnings] == [a2d.NO_H5PY]
    assert not found.annotations.num_rows


def test_clips_that_are_missing_or_of_another_size(root):
    write_coco(root, {("-a", 7, "0"): LEFT}, segmentation={"size": [H, W + 1], "counts": "x"})
    (root / "Release/clips320H/-b.mp4").write_bytes(b"no video")
    assert dict(list(a2d.read(str(root)))[1].warnings).keys() == {a2d.BROKEN, a2d.NO_MASKS}
    (root / "Release/clips320H/-b.mp4").unlink()
    first, second = a2d.read(str(root))
    assert "object 0 frame 00006" in first.problems[0]
    assert dataset_video.NO_FRAMES in dict(second.warnings)
    assert second.pairs[0]["num_frames"] == 9  # by videoset.csv
    write_coco(root, {("-a", 7, "0"): LEFT[:, :-2]}, segmentation={"size": [H, W - 2], "counts": [H * (W - 2)]})
    assert (OTHER_SIZE, "-a: masks 46x32, images 48x32") in next(iter(a2d.read(str(root)))).warnings


def test_real_sentences(shared, root):
    text = (shared / "data/real/text/a2d_annotation_sample.txt").read_text()
    (root / "text_annotations/a2d_annotation.txt").write_text(text)
    found = list(a2d.read(str(root)))
    copies = [where for video in found for what, where in video.warnings if what == a2d.NO_NUMBER]
    assert copies == ["T6bNPuKV-wY instance '1 (copy)'"]  # the one that published loaders know of
    assert sum(len(video.pairs) for video in found) == len(text.splitlines()) - 2
    assert [video.video_id for video in found] == sorted(video.video_id for video in found)


def test_errors(root, tmp_path):
    with pytest.raises(InputError, match="unknown split 'valid'"):
        a2d.read(str(root), "valid")
    text = root / "text_annotations/a2d_annotation.txt"
    text.write_text("video_id,instance_id,query\n../a,0,x\n-a,0\n")
    with pytest.raises(InputError) as caught:
        a2d.read(str(root))
    assert [line.partition(": ")[0].rpartition(" ")[2] for line in str(caught.value).splitlines()] == ["1", "2"]
    text.write_text("a,b\n")
    with pytest.raises(InputError, match="must begin with"):
        a2d.read(str(root))
    with pytest.raises(InputError, match="A2D-Sentences needs it"):
        a2d.read(str(tmp_path / "gone"))
    (root / "Release/videoset.csv").unlink()
    text.write_text(SENTENCES)
    with pytest.raises(InputError, match=r"videoset\.csv does not exist"):
        a2d.read(str(root), "test")


@pytest.mark.parametrize("context", [None, 5])
def test_scored_by_its_protocol(root, score_itself, context):
    """A sample is an annotated frame with its instance, however pairs are cut."""
    write_coco(root, {("-a", 1, "0"): LEFT, ("-a", 7, "0"): ~LEFT, ("-a", 7, "1"): LEFT})
    summary = score_itself("a2d", root, "a2d", split="test", context=context)
    assert summary["frames"]["scored"] == 3
    assert summary["overall"] | {"mean IoU": 1, "P@0.9": 1, "mAP": 1} == summary["overall"]


def test_frames_behind_the_end_of_a_clip(root):
    write_coco(root, {("-a", 300, "0"): LEFT})
    first, *_ = a2d.read(str(root), "test", context=5)
    assert a2d.BEYOND in [what for what, _ in first.warnings]
    assert first.pairs[0]["frame_indices"] == [297, 298, 299]


@pytest.mark.parametrize("frames", ["99999999999", "\u00b2", "-3", "0"])
def test_lengths_that_are_none(root, frames):
    (root / "Release/videoset.csv").write_text(f"-a,21,00:01,00:03,320,480,{frames},3,1\n", encoding="utf-8")
    (root / "Release/clips320H/-a.mp4").unlink()
    (found,) = a2d.read(str(root), "test")
    assert {pair["num_frames"] for pair in found.pairs} == {None}


def test_each_annotated_frame_is_a_training_sample_with_context_from_the_whole_clip(root, tmp_path):
    write_coco(root, {("-a", 1, "0"): LEFT, ("-a", 7, "0"): LEFT, ("-a", 7, "1"): LEFT, ("-a", 12, "1"): LEFT})
    out = tmp_path / "imported"
    import_dataset.run(ImportConfig(dataset="a2d", root=str(root), split="test", out=str(out)))
    source = TrainingSource(manifest=str(out / "manifest.parquet"), annotations=str(out / "annotations.parquet"))
    examples, left_out = gather_examples([source])
    assert not left_out
    tokenizer = load_tokenizer(tmp_path, write_byte_level_tokenizer(tmp_path))
    loader = BatchLoader(examples, read_recipe("a2d-sentences"), tokenizer)
    targets = [examples["annotated"][example].as_py()[place] for example, place in loader._plan(0)[0]]
    assert sorted(targets) == [0, 6, 6, 11]
    assert set(map(tuple, examples["frames"].to_pylist())) == {tuple(range(12))}
    for batch in loader.batches(0):
        assert batch.frames.shape[:2] == (2, 5)
        assert batch.targets.masks.shape[:2] == (2, 1)
        assert batch.targets.present.all()
        assert batch.valid_indices is not None
