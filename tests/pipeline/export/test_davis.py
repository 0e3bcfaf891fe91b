"""Label maps: the published merge, annotators and objects, and reading them again."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from model.referformer.inference.postprocess import choose_query, merge_objects, resize_logits
from pipeline.export.davis import merge_masks, write_davis
from pipeline.masks.by_video import MaskSource
from pipeline.masks.png_file import DAVIS_PALETTE
from pipeline.masks.png_trees import DEFAULT_READING, PngTree
from pipeline.masks.tree_masks import TreeMasks
from schemas import rle
from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from tests import parity
from tests.handmade import rows_of


@pytest.fixture(scope="module", params=parity.params("cases/*.json", lambda info: "davis" in info))
def recorded(request) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """The recorded Ref-DAVIS17 merge: logits [O, T, H, W], the score of each object and frame, ids [T, H, W]."""
    case = parity.Recording(request.param)
    info = case.info["davis"]
    objects, scores = [], []
    for key in info["keys"]:
        logits = parity.synthetic_logits(key, info["pred_logits"], case.salt)
        masks = parity.synthetic_masks(key, info["pred_masks"], case.salt)
        parts = [slice(i, i + info["clip_length"]) for i in range(0, len(logits), info["clip_length"])]
        queries = [choose_query(logits[part]) for part in parts]
        chosen = zip(parts, queries, strict=True)
        objects.append(resize_logits(torch.cat([masks[part, query] for part, query in chosen]), info["original_size"]))
        chosen = zip(parts, queries, strict=True)
        scores.append(torch.cat([logits[part, query].sigmoid()[:, 0] for part, query in chosen]))
    return torch.stack(objects), torch.stack(scores).numpy(), case.arrays["davis.ids"]


def test_the_merge_is_the_published_one_where_masks_do_not_overlap(recorded):
    logits, scores, ids = recorded
    masks = (logits.sigmoid() > 0.5).numpy()
    alone = masks.sum(0) < 2
    same = overlapping = 0
    for frame in range(masks.shape[1]):
        merged, overlap = merge_masks(list(masks[:, frame]), list(scores[:, frame]), list(range(1, len(masks) + 1)))
        clear = alone[frame] & (logits[:, frame].abs() > 1e-4).all(0).numpy()
        np.testing.assert_array_equal(merged[clear], ids[frame][clear])
        assert overlap == np.count_nonzero(~alone[frame])
        winner = np.where(masks[:, frame], scores[:, frame, None, None], -1).argmax(0) + 1
        np.testing.assert_array_equal(merged[~alone[frame]], winner[~alone[frame]])
        overlapping += overlap
        same += np.count_nonzero((merged == ids[frame])[~alone[frame]])
    assert 0.4 < same / overlapping < 0.6  # noise overlaps everywhere, and scores know nothing of pixels


def test_with_the_exact_probabilities_the_rule_is_the_recorded_one(recorded):
    logits, _, ids = recorded
    best = logits.topk(2, dim=0).values
    clear = (logits.abs() > 1e-4).all(0) & (best[0] - best[1] > 1e-4)
    assert (merge_objects(logits).numpy() == ids)[clear.numpy()].all()


def test_overlaps_go_to_the_higher_score_and_ties_to_the_first():
    left, right = np.zeros((1, 3), bool), np.zeros((1, 3), bool)
    left[0, :2], right[0, 1:] = True, True
    assert merge_masks([left, right], [0.2, 0.4], [1, 2])[0].tolist() == [[1, 2, 2]]
    assert merge_masks([left, right], [0.4, 0.4], [1, 2])[0].tolist() == [[1, 1, 2]]
    assert merge_masks([left, right], [0.4, 0.2], [7, 2])[0].tolist() == [[7, 7, 2]]
    assert merge_masks([left, right], [0.4, 0.2], [7, 2])[1] == 1


def test_the_palette_gives_each_bit_of_a_label_to_a_colour():
    """Pascal VOC's rule, which DAVIS uses: the lowest bits of a label are the highest of red, green and blue."""
    expected = [
        sum((label >> 3 * place + colour & 1) << 7 - place for place in range(8))
        for label in range(256)
        for colour in range(3)
    ]
    assert list(DAVIS_PALETTE) == expected


def test_the_palette_equals_the_one_of_davis(shared):
    image = Image.open(shared / "data/real/predictions_osvos/libby/00000.png")
    assert bytes(image.getpalette() or []) == DAVIS_PALETTE


def table(tmp_path, masks: dict[str, list[np.ndarray]]) -> str:
    """Write predictions of one video with a few frames for each expression."""
    rows = []
    for number, (expression, frames) in enumerate(masks.items()):
        for row, mask in zip(rows_of("v", expression, len(frames)).to_pylist(), frames, strict=True):
            height, width = mask.shape
            rows.append(
                row | {"height": height, "width": width, "counts": rle.encode(mask[None])[0], "score": 0.05 * number}
            )
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTIONS), tmp_path / "p.parquet")
    return str(tmp_path / "p.parquet")


def disjoint(objects: int, frames: int = 2) -> list[list[np.ndarray]]:
    labels = [np.random.default_rng(frame).integers(0, objects + 1, (5, 7)) for frame in range(frames)]
    return [[label == number + 1 for label in labels] for number in range(objects)]


def test_published_numbering_is_read_again(tmp_path):
    masks = disjoint(3)
    uri = table(tmp_path, {str(4 * thing + who): masks[thing] for thing in range(3) for who in range(4)})
    made = write_davis(MaskSource.open(uri), str(tmp_path / "out"))
    assert made.counts == {"videos": 1, "annotators": 4, "pairs": 12, "files": 8, "filled": 0, "overlaps": 0}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["anno_0", "anno_1", "anno_2", "anno_3"]
    image = Image.open(tmp_path / "out/anno_2/v/00001.png")
    assert (image.mode, image.size) == ("P", (7, 5))
    tree = PngTree.find(str(tmp_path / "out/anno_2"))
    assert tree
    back = {
        (row["object_id"], row["frame_index"]): row["counts"]
        for row in TreeMasks.read(tree, DEFAULT_READING).annotations()[0].to_pylist()
    }
    assert back == {
        (str(thing + 1), frame): rle.encode(mask[None])[0]
        for thing, frames in enumerate(masks)
        for frame, mask in enumerate(frames)
    }
    first = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}
    write_davis(MaskSource.open(uri), str(tmp_path / "out"))
    assert first == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}


def manifest(tmp_path, rows: list[dict]) -> str:
    common = {"video_id": "v", "video_uri": "/v", "expression": "x"}
    pq.write_table(pa.Table.from_pylist([common | row for row in rows]), tmp_path / "m.parquet")
    return str(tmp_path / "m.parquet")


def test_annotators_and_objects_of_the_manifest(tmp_path):
    uri = table(tmp_path, dict(zip("ab", disjoint(2), strict=True)))
    rows = [
        {"expression_id": name, "annotator": "first", "object_ids": [thing]} for name, thing in (("a", "5"), ("b", "2"))
    ]
    write_davis(MaskSource.open(uri, manifest(tmp_path, rows)), str(tmp_path / "out"))
    assert set(np.unique(np.asarray(Image.open(tmp_path / "out/anno_first/v/00000.png")))) == {0, 2, 5}


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([{"expression_id": "a"}], "annotator or object is unknown"),
        ([{"expression_id": "0", "object_ids": ["1", "2"]}], "label maps need one number"),
        ([{"expression_id": "0", "object_ids": ["255"]}], "label maps need one number"),
        ([{"expression_id": "1016"}], "expression_id=1016: its number makes it object 255, and label maps hold 254"),
        (
            [{"expression_id": name, "object_ids": ["1"], "annotator": "0"} for name in "01"],
            "its object 1 is already that of expression 0",
        ),
        ([{"expression_id": "0", "annotator": "../x"}], "cannot be a file name"),
    ],
)
def test_pairs_that_label_maps_cannot_hold_are_refused(tmp_path, rows, text):
    uri = table(tmp_path, {name: disjoint(1)[0] for name in ("0", "1", "1016", "a")})
    with pytest.raises(InputError, match=text):
        write_davis(MaskSource.open(uri, manifest(tmp_path, rows)), str(tmp_path / "out"))


def test_an_object_without_masks_is_refused_or_background(tmp_path):
    uri = table(tmp_path, {"0": disjoint(1)[0]})
    asked = manifest(tmp_path, [{"expression_id": "0"}, {"expression_id": "4"}])
    with pytest.raises(InputError, match="expression_id=4: the predictions do not contain this pair"):
        write_davis(MaskSource.open(uri, asked), str(tmp_path / "out"))
    made = write_davis(MaskSource.open(uri, asked), str(tmp_path / "out"), missing="empty")
    assert (made.counts["files"], made.counts["filled"]) == (2, 2)
