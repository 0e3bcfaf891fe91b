"""SAM 3 finds and follows what a sentence names, as transformers' own processor and iterator on the whole video."""

import json
import resource
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer
from transformers.models.sam3_video import modeling_sam3_video

from model.errors import CheckpointError
from model.families import check_checkpoint, load_segmenter
from model.sam import concept_session
from model.sam.instances import HIDDEN_FRAMES, Choice
from model.sam.kernels import Kernels, mask_iou
from model.segmenter import InferenceRules, Overlap
from tests.published_concepts import PUBLISHED_IOU, published, union
from tests.tiny_sam import LIVELY, write_sam3

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE, FRAMES = (72, 96), 20
# Objects may be taken back in their first 6 frames, and are if no detection matches them in 3.
QUICK = LIVELY | {"hotstart_delay": 6, "hotstart_unmatch_thresh": 3, "hotstart_dup_thresh": 3, "max_num_objects": 5}
TEXTS = ("a dog", "red")
WINDOWS = ([0], [0, 2, 4])  # the starts of windows; each has the 15 frames after the next start too
SEEDS = (12, 5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {seed: write_sam3(tmp_path_factory.mktemp("sam3"), seed, 8.0, **QUICK) for seed in SEEDS}


@pytest.fixture
def folder(folders, tmp_path) -> Path:
    shutil.copytree(folders[SEEDS[0]], tmp_path / "model")
    return tmp_path / "model"


def video(seed: int, frames: int = FRAMES) -> np.ndarray:
    """Two squares that move over noise, uint8 [T, H, W, 3]."""
    background = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)
    made = np.stack([background] * frames)
    for t in range(frames):
        for y, x, side, colour in ((5 + 2 * t, 9 + 3 * t, 26, (220, 40, 30)), (40 - 2 * t, 60 - t, 20, (30, 60, 220))):
            top, left = y % (SIZE[0] - 30), x % (SIZE[1] - 30)
            made[t, top : top + side, left : left + side] = colour
    return made


def follow(model, frames, texts, starts=(0,), keep=None):
    """Answers of all windows, by expression."""
    prepared, count = [model.prepare(frame) for frame in frames], len(frames)
    tracks, answers = [None] * len(texts), [[] for _ in texts]
    for start, final in pairwise([*starts, count]):
        end = min(count, final + model.lookahead)
        kept = None if keep is None else [place - start for place in keep if start <= place < end]
        found = list(model.segment(prepared[start:end], SIZE, texts, kept, Overlap(start, final, tracks)))
        tracks = [answer.track for answer in found]
        for one, answer in zip(answers, found, strict=True):
            one.append(answer)
    return answers


def joined(answers, name="masks"):
    return np.concatenate([getattr(answer, name) for answer in answers])


@pytest.fixture(scope="module")
def wanted(folders):
    """Outputs of the published loop, by seed and expression."""
    return {(seed, text): published(folders[seed], video(seed), text) for seed in SEEDS for text in TEXTS}


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_masks_are_those_of_the_published_loop_for_any_window(folders, wanted, seed):
    model = load_segmenter(folders[seed], device="cpu")
    assert (model.lookahead, model.max_tokens) == (15, 32)
    scores = []
    for starts in WINDOWS:
        answers = follow(model, video(seed), TEXTS, starts)
        for text, found in zip(TEXTS, answers, strict=True):
            assert np.array_equal(joined(found), union(wanted[seed, text][0]))
            assert all(answer.finite and answer.follows and answer.query is None for answer in found)
        scores.append([joined(found, "scores") for found in answers])
    assert np.array_equal(scores[0], scores[1])
    assert joined(answers[0]).any()


@pytest.mark.slow
def test_objects_come_and_are_taken_back_in_these_videos(wanted):
    assert any(session.hotstart_removed_obj_ids for _, session in wanted.values())
    assert any(len(one["object_ids"]) > 1 for outputs, _ in wanted.values() for one in outputs)


@pytest.mark.slow
def test_the_masks_of_an_expression_do_not_depend_on_the_others_or_on_a_retry(folders, wanted):
    seed, frames = SEEDS[0], video(SEEDS[0])
    model = load_segmenter(folders[seed], device="cpu")
    prepared = [model.prepare(frame) for frame in frames]
    (first,) = model.segment(prepared[:17], SIZE, TEXTS[:1], None, Overlap(0, 2, [None]))
    rest = Overlap(2, FRAMES, [first.track])
    real, calls = model.model.forward, []

    def full(**options):
        calls.append(options)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(**options)

    model.model.forward = full
    with pytest.raises(torch.OutOfMemoryError):
        list(model.segment(prepared[2:], SIZE, TEXTS[:1], None, rest))
    model.model.forward = real
    (again,) = model.segment(prepared[2:], SIZE, TEXTS[:1], None, rest)
    assert np.array_equal(joined([first, again]), union(wanted[seed, TEXTS[0]][0]))
    (some,) = follow(model, frames, TEXTS[:1], WINDOWS[1], keep=[2, 9, 19])
    assert np.array_equal(joined(some), union(wanted[seed, TEXTS[0]][0])[[2, 9, 19]])


def test_the_best_instance_is_one_of_them_and_windows_do_not_change_it(folders):
    every = load_segmenter(folders[SEEDS[0]], device="cpu")
    best = load_segmenter(folders[SEEDS[0]], device="cpu", answer="best")
    frames = video(SEEDS[0])
    (all_of_them,), (one,), (cut,) = (
        follow(every, frames, TEXTS[:1]),
        follow(best, frames, TEXTS[:1]),
        follow(best, frames, TEXTS[:1], WINDOWS[1]),
    )
    assert np.array_equal(joined(one), joined(cut))
    assert np.array_equal(joined(one, "scores"), joined(cut, "scores"))
    assert one[0].query is not None
    assert joined(one).any()
    assert not (joined(one) & ~joined(all_of_them)).any()


def test_the_surest_instance_is_kept_until_it_has_been_away():
    choice = Choice()
    assert choice.update({}, [{}]) is None
    both = {1: 0.5, 2: 0.6}
    assert choice.update(both, [both, {1: 0.9}]) == 1  # 0.7 on average, the other 0.3
    assert choice.margin == pytest.approx(0.4)
    assert choice.update({1: 0.1, 2: 0.9}, [{2: 0.9}]) == 1
    for _ in range(HIDDEN_FRAMES):
        assert choice.update({2: 0.9}, [{2: 0.9}]) is None
    assert choice.update({2: 0.9}, [{2: 0.9}]) == 2
    assert choice.margin is None


def test_memory_does_not_grow_with_the_video(folders, monkeypatch):
    monkeypatch.setattr(concept_session, "MOST_CONDITIONING", 4)
    monkeypatch.setattr(concept_session, "EMPTY_FRAMES", 6)
    model = load_segmenter(folders[SEEDS[1]], device="cpu")
    frames, sizes, track = [model.prepare(frame) for frame in video(SEEDS[1], 12)], [], None
    for start in range(0, 60, 12):
        (answer,) = model.segment(frames, SIZE, TEXTS[:1], [], Overlap(start, start + 12, [track]))
        track = answer.track
        sizes.append(entries(vars(track.session)))
        assert len(track.session.obj_ids) <= 5
    assert sizes[-1] <= 1.2 * sizes[2], sizes


def entries(value) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(entries, value.values()))
    return len(value) if isinstance(value, list | set) else 0


def test_detections_that_overlap_a_surer_one_are_dropped():
    ious = torch.tensor([[1, 0.6, 0.2], [0.6, 1, 0.5], [0.2, 0.5, 1]])
    kept = Kernels().generic_nms(ious, torch.tensor([0.7, 0.9, 0.8]), 0.5)
    assert kept.tolist() == [1, 2]  # an IoU of exactly the threshold is allowed
    assert Kernels().generic_nms(ious, torch.tensor([0.7, 0.9, 0.8]), 0.4).tolist() == [1]
    assert Kernels().generic_nms(torch.ones(3, 3), torch.ones(3), 0.5).tolist() == [0]


def test_the_iou_of_masks_has_the_published_bits():
    chance = torch.Generator().manual_seed(3)
    masks = torch.rand(12, 288, 288, generator=chance) > torch.linspace(0, 1, 12)[:, None, None]
    assert PUBLISHED_IOU.__module__ == modeling_sam3_video.__name__
    with torch.autocast("cpu", torch.bfloat16):
        found = mask_iou(masks, masks[:5])
    assert torch.equal(found, PUBLISHED_IOU(masks, masks[:5]))
    assert (found[0, 0], mask_iou(masks[:1], ~masks[:1])) == (1, 0)
    assert mask_iou(torch.zeros(1, 4, 4, dtype=torch.bool), torch.zeros(2, 4, 4, dtype=torch.bool)).tolist() == [[0, 0]]


def test_many_detections_take_little_memory():
    """All 200 queries of a frame: pixel by pixel, the published way takes 26 GB."""
    masks = torch.ones(200, 288, 288, dtype=torch.bool)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert mask_iou(masks, masks).min() == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # kB


def test_pixels_that_touch_at_a_corner_are_connected():
    mask = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=torch.uint8)[None, None]
    labels, counts = Kernels().cc_2d(mask)
    assert counts[0, 0].tolist() == [[2, 0, 0, 1], [0, 2, 0, 0], [0, 0, 0, 1]]
    assert labels[0, 0, 0, 0] == labels[0, 0, 1, 1]
    assert len(labels.unique()) == 4


def test_what_a_folder_says_of_itself(folders):
    info = check_checkpoint(folders[SEEDS[0]])
    assert (info.family, info.short_side, info.max_tokens) == ("sam3_video", 112, 32)
    assert (info.lookahead, info.answers) == (15, ("union", "best"))
    assert info.count_tokens("a dog") == 6
    assert info.tracking.startswith("transformers 5.")


def test_tokens_are_those_of_the_published_processor(folders):
    model = load_segmenter(folders[SEEDS[0]], device="cpu")
    ids, mask = model.phrases.encode("A Brown Dog", torch.device("cpu"))
    options = {"return_tensors": "pt", "padding": "max_length", "max_length": 32}
    wanted = AutoTokenizer.from_pretrained(folders[SEEDS[0]])("A Brown Dog", **options)
    assert torch.equal(ids, wanted.input_ids)
    assert torch.equal(mask, wanted.attention_mask)
    assert ids.shape == (1, 32)
    with pytest.raises(ValueError, match="has 37 tokens, at most 32 fit"):
        model.phrases.encode("x" * 35, torch.device("cpu"))


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json", "model.safetensors"])
def test_the_digest_is_over_everything_that_decides(folder, name):
    before = check_checkpoint(folder).digest
    (folder / "sam3.pt").write_bytes(b"pickled")
    assert check_checkpoint(folder).digest == before
    if name == "model.safetensors":
        weights = load_file(folder / name)
        weights[next(iter(weights))] += 1
        save_file(weights, folder / name, metadata={"format": "pt"})
    else:
        values = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(values, indent=7))
    assert check_checkpoint(folder).digest != before


def test_a_folder_without_its_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").unlink()
    for use in (check_checkpoint, load_segmenter):
        with pytest.raises(CheckpointError, match=r"no tokenizer; the folder must hold tokenizer.json"):
            use(folder)


def test_a_tokenizer_of_another_model_is_refused(folder):
    values = json.loads((folder / "tokenizer.json").read_text())
    values["model"]["vocab"] |= {f"more{number}": 514 + number for number in range(600)}
    (folder / "tokenizer.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="the model's vocabulary is 1000"):
        check_checkpoint(folder)


@pytest.mark.parametrize("fault", ["missing", "unexpected", "mismatched"])
def test_every_tensor_must_fit(folder, fault):
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.startswith("detector_model") and weights[name].dim() == 2)
    if fault == "missing":
        del weights[name]
    elif fault == "unexpected":
        weights["of_nothing"] = weights[name].clone()
    else:
        weights[name] = weights[name][:, :7].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="of_nothing" if fault == "unexpected" else name.replace(".", r"\.")):
        load_segmenter(folder, device="cpu")


@pytest.mark.parametrize(
    "part", ["detector_model.vision_encoder", "detector_model.text", "detector_model.detr_decoder"]
)
def test_weights_that_are_not_finite_are_found(folder, part):
    weights = load_file(folder / "model.safetensors")
    names = [name for name in weights if name.startswith(part) and weights[name].is_floating_point()]
    assert names
    for name in names:
        weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    ((answer,),) = follow(load_segmenter(folder, device="cpu"), video(0, 1), TEXTS[:1])
    assert not answer.finite


@pytest.mark.parametrize(
    "options", [{"short_side": 64}, {"max_size": 64}, {"compiled": True}, {"rules": InferenceRules(lower_case=True)}]
)
def test_options_that_cannot_be_honoured_are_refused(folders, options):
    with pytest.raises(ValueError, match="fixed input size"):
        load_segmenter(folders[SEEDS[0]], device="cpu", **options)


def test_a_lower_precision_runs(folders):
    model = load_segmenter(folders[SEEDS[0]], device="cpu", precision="bf16")
    ((answer,),) = follow(model, video(SEEDS[0], 4), TEXTS[:1])
    assert (answer.finite, answer.masks.shape) == (True, (4, *SIZE))
    with pytest.raises(ValueError, match="unknown precision 'fp16'"):
        load_segmenter(folders[SEEDS[0]], device="cpu", precision="fp16")
