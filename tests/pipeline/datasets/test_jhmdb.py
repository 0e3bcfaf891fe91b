"""JHMDB-Sentences: folders by action, masks in MATLAB files, three scored frames of each clip."""

import json

import numpy as np
import pytest
import scipy.io

from pipeline.datasets import jhmdb
from pipeline.datasets.common import dataset_video, matlab_masks
from pipeline.datasets.common.target_frames import NO_TARGETS
from schemas import rle
from schemas.errors import InputError

NAMES = [f"{number:05d}" for number in range(1, 7)]


@pytest.fixture
def root(tmp_path, write_frames, half):
    """Two clips of six frames; the last frame of one has no mask."""
    for action, video, masks in (("jump", "b_1", 6), ("sit", "a!", 5)):
        write_frames(tmp_path / "Rename_Images" / action / video, NAMES, "png")
        folder = tmp_path / "puppet_mask" / action / video
        folder.mkdir(parents=True)
        mask = np.repeat(half[..., None], masks, axis=2).astype(np.uint8)
        mask[..., 1] = 0
        scipy.io.savemat(folder / "puppet_mask.mat", {"part_mask": mask}, do_compression=True)
    (tmp_path / "jhmdb_annotation.txt").write_text('video_id,query\nb_1,man jumping\na!,"sits, then stands"\n')
    return tmp_path


def samples(root) -> list[list]:
    return [
        [video, f"./jhmdb_sentences/Rename_Images/{action}/{video}/{name}.png", "./x/puppet_mask.mat", 6, text]
        for action, video, text in (("jump", "b_1", "man jumping"), ("sit", "a!", "sits"))
        for name in NAMES[::2]
    ]


def test_layout(root, half):
    first, second = jhmdb.read(str(root))
    assert (first.video_id, second.video_id) == ("a!", "b_1")
    assert first.pairs == [
        {
            "video_id": "a!",
            "video_uri": str(root / "Rename_Images/sit/a!"),
            "expression_id": "0",
            "expression": "sits, then stands",
            "target_frames": None,
            "num_frames": 6,
            "object_ids": ["1"],
            "action": "sit",
        }
    ]
    rows = first.annotations.to_pylist()
    assert [(row["frame_index"], row["frame_name"], row["counts"] is None) for row in rows] == [
        (index, NAMES[index], index == 1) for index in range(5)
    ]
    np.testing.assert_array_equal(rle.decode(rows[0]["counts"], 6, 8), half)
    assert not first.problems
    assert not first.warnings


def test_sentences_without_a_header(root):
    (root / "jhmdb_annotation.txt").write_text("b_1,man jumping\n\na!,sits\n")
    assert [pair["expression"] for video in jhmdb.read(str(root)) for pair in video.pairs] == ["sits", "man jumping"]


def test_scored_frames(root):
    (root / jhmdb.SAMPLES).write_text(json.dumps(samples(root)))
    first, _ = jhmdb.read(str(root))
    assert first.pairs[0]["target_frames"] == NAMES[::2]
    first, _ = jhmdb.read(str(root), context=5)
    assert [(pair["expression_id"], pair["target_frames"], pair["frame_indices"]) for pair in first.pairs] == [
        ("0_00001", ["00001"], [0, 1, 2]),
        ("0_00003", ["00003"], [0, 1, 2, 3, 4]),
        ("0_00005", ["00005"], [2, 3, 4, 5]),
    ]
    (root / "jhmdb_annotation.txt").unlink()
    first, _ = jhmdb.read(str(root))
    assert [pair["expression"] for pair in first.pairs] == ["sits"]


def test_missing_and_broken_masks(root):
    (root / "puppet_mask/sit/a!/puppet_mask.mat").unlink()
    scipy.io.savemat(root / "puppet_mask/jump/b_1/puppet_mask.mat", {"other": np.zeros((2, 2))})
    first, second = jhmdb.read(str(root))
    assert [what for what, _ in first.warnings] == [jhmdb.NO_MASKS]
    assert "part_mask is missing, found other" in second.problems[0]
    scipy.io.savemat(root / "puppet_mask/jump/b_1/puppet_mask.mat", {"part_mask": np.zeros((2, 2))})
    assert "the mask is" not in str(next(iter(jhmdb.read(str(root)))).problems)
    (root / "puppet_mask/jump/b_1/puppet_mask.mat").write_bytes(b"no MATLAB")
    assert "cannot be read" in list(jhmdb.read(str(root)))[1].problems[0]
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (root / "puppet_mask/jump/b_1/puppet_mask.mat").write_bytes(header.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n")
    assert "which is HDF5; save it again with '-v7'" in list(jhmdb.read(str(root)))[1].problems[0]


def test_sizes_are_bounded(root, monkeypatch):
    monkeypatch.setattr(matlab_masks, "MAX_BYTES", 100)
    assert "more than 100 bytes" in next(iter(jhmdb.read(str(root)))).problems[0]


def test_frames_missing(root):
    (root / "Rename_Images").rename(root / "elsewhere")
    first, _ = jhmdb.read(str(root))
    assert {what for what, _ in first.warnings} == {dataset_video.NO_FRAMES, jhmdb.NO_MASKS}
    (root / "elsewhere").rename(root / "Rename_Images")
    rows = samples(root)
    rows[3][1] = "x/00099.png"
    (root / jhmdb.SAMPLES).write_text(json.dumps(rows))
    first, _ = jhmdb.read(str(root))
    assert "names frame 00099 of a!" in first.problems[0]


def test_errors(root, tmp_path):
    (root / "jhmdb_annotation.txt").write_text("video_id,query\n../b,x\na!\n")
    with pytest.raises(InputError) as caught:
        jhmdb.read(str(root))
    assert len(str(caught.value).splitlines()) == 2
    (root / jhmdb.SAMPLES).write_text('[["a", 1]]')
    with pytest.raises(InputError, match=r"\[0\]: must be"):
        jhmdb.read(str(root))
    with pytest.raises(InputError, match="no sentences"):
        jhmdb.read(str(tmp_path / "gone"))


def test_scored_by_its_protocol(root, score_itself):
    (root / jhmdb.SAMPLES).write_text(json.dumps(samples(root)))
    summary = score_itself("jhmdb", root, "jhmdb", by=("action",))
    assert summary["frames"]["scored"] == 6
    assert summary["overall"] | {"mean IoU": 1, "mAP": 1} == summary["overall"]
    assert {row["value"] for row in summary["by"]["action"]} == {"jump", "sit"}


def test_samples_need_their_list(root):
    with pytest.raises(InputError, match=rf"{jhmdb.SAMPLES} does not exist or is empty; samples of 5 frames need it"):
        list(jhmdb.read(str(root), context=5))
    (root / jhmdb.SAMPLES).write_text(json.dumps([row for row in samples(root) if row[0] == "b_1"]))
    first, second = jhmdb.read(str(root), context=5)
    assert (first.video_id, first.pairs, first.skipped) == ("a!", [], [(NO_TARGETS, "a! expression 0")])
    assert len(second.pairs) == 3


def test_frames_behind_the_last_mask_are_no_context(root):
    rows = [[*row[:3], 5, row[4]] for row in samples(root)]
    (root / jhmdb.SAMPLES).write_text(json.dumps(rows))
    first, _ = jhmdb.read(str(root), context=5)
    assert first.pairs[2]["frame_indices"] == [2, 3, 4]


def test_a_field_without_end(root):
    (root / "jhmdb_annotation.txt").write_text('a!,"' + "x" * 200_000)
    with pytest.raises(InputError, match="is not CSV"):
        jhmdb.read(str(root))


@pytest.mark.slow
@pytest.mark.ray
def test_benchmark(root, benchmark):
    (root / jhmdb.SAMPLES).write_text(json.dumps(samples(root)))
    found = benchmark("jhmdb", root)
    assert (found["import"]["pairs"], found["audit" if "audit" in found else "segment"]["pairs"]) == (6, 6)
    assert {"mAP", "overall IoU", "mean IoU"} <= set(found["evaluate"]["overall"])
