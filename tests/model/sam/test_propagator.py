"""Masks are refined as by the loop that transformers publishes: all frames forward, then backward, from one mask."""

from itertools import pairwise

import numpy as np
import pytest

from model.families import load_refiner
from model.segmenter import Overlap, Refining, SourceMasks
from tests.published_sam import KINDS, published
from tests.tiny_sam import write_sam2

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (72, 96)
FRAMES = 20  # more than the 16 whose pointers the tracker takes


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders by family and seed."""
    made = {}

    def folder(name: str, seed: int) -> str:
        if (name, seed) not in made:
            made[name, seed] = KINDS[name][0](tmp_path_factory.mktemp("sam"), seed)
        return made[name, seed]

    return folder


def video(seed: int = 0, frames: int = FRAMES) -> np.ndarray:
    """A square that moves over noise, uint8 [T, H, W, 3]; it is gone in the frames 8 to 11."""
    random = np.random.default_rng(seed)
    background = random.integers(0, 256, (*SIZE, 3), np.uint8)
    made = np.stack([background] * frames)
    for t in range(frames):
        if not 8 <= t < 12:
            made[t, 5 + 2 * t : 25 + 2 * t, 10 + 3 * t : 34 + 3 * t] = (220, 40, 30)
    return made


def given(scores, frames: int = FRAMES, empty=(), shift: int = 0) -> SourceMasks:
    """Masks of that square; those of the frames in `empty` are empty."""
    masks = np.zeros((frames, *SIZE), bool)
    for t in range(frames):
        if t not in empty:
            masks[t, 5 + 2 * t : 25 + 2 * t + shift, 10 + 3 * t : 34 + 3 * t] = True
    scores = np.asarray(scores, np.float32)
    return SourceMasks(masks.sum((1, 2)), scores, [0.5] * frames, masks.__getitem__)


def refine(folder, frames, sources, cuts=None, keep=None, tracks=None, **refining):
    """Masks [pair][T, H, W] and scores of the windows that start at `cuts`."""
    model = load_refiner(folder, device="cpu", refining=Refining(**refining))
    prepared = [model.prepare(frame) for frame in frames]
    tracks, answers = tracks or [None] * len(sources), [[] for _ in sources]
    cuts = [*(cuts or [0]), len(frames)]
    for start, end in pairwise(cuts):
        inside = [window(source, start, end) for source in sources]
        kept = None if keep is None else [t - start for t in keep if start <= t < end]
        overlap = Overlap(start, end, tracks, inside)
        found = list(model.segment(prepared[start:end], SIZE, [""] * len(sources), kept, overlap))
        tracks = [answer.track for answer in found]
        for one, answer in zip(answers, found, strict=True):
            one.append(answer)
    masks = [np.concatenate([answer.masks for answer in found]) for found in answers]
    scores = [np.concatenate([answer.scores for answer in found]) for found in answers]
    return masks, scores, answers


def window(source, start, end):
    part = slice(start, end)
    return SourceMasks(source.areas[part], source.scores[part], source.margins[part], lambda i: source.mask(start + i))


def peak(at: int, frames: int = FRAMES) -> list[float]:
    return [0.9 if t == at else 0.5 for t in range(frames)]


@pytest.mark.parametrize("prompt", ["mask", "box"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", KINDS)
def test_masks_are_those_of_the_published_loop(folders, name, seed, prompt):
    frames, anchors = video(seed), [7, (0, FRAMES - 1, 3)[seed]]
    sources = [given(peak(at), shift=3 * at) for at in anchors]
    masks, scores, answers = refine(folders(name, seed), frames, sources, prompt=prompt)
    for at, source, found, score, (answer,) in zip(anchors, sources, masks, scores, answers, strict=True):
        wanted, presence = published(folders(name, seed), name, frames, at, source.mask(at), prompt)
        assert np.array_equal(found, wanted)
        drawn = (np.arange(FRAMES) != at) | (prompt == "box")  # the frames of which the model says something
        assert score[drawn] == pytest.approx((0.9 * presence * wanted.any((1, 2)))[drawn], abs=1e-6)
        assert prompt == "box" or score[at] == np.float32(0.9)
        assert (answer.query, answer.margin, answer.finite, answer.follows) == (None, 0.5, True, True)
    assert prompt == "box" or masks[0].any()


@pytest.mark.parametrize(
    ("mask", "vanishes"), [((30, 31, 40, 41), True), ((0, 72, 50, 51), True), ((30, 50, 40, 60), False)]
)
@pytest.mark.parametrize("name", KINDS)
def test_a_mask_too_thin_for_the_model_is_written_as_it_was_given(folders, name, mask, vanishes):
    top, bottom, left, right = mask
    masks = np.zeros((4, *SIZE), bool)
    masks[:, top:bottom, left:right] = True
    source = SourceMasks(masks.sum((1, 2)), np.float32(peak(2, 4)), [None] * 4, masks.__getitem__)
    (found,), (scores,), ((answer,),) = refine(folders(name, 0), video(0, 4), [source])
    wanted, _ = published(folders(name, 0), name, video(0, 4), 2, masks[2], "mask")
    assert wanted[2].any() != vanishes
    assert np.array_equal(found[2], masks[2] if vanishes else wanted[2])
    assert scores[2] == np.float32(0.9)
    assert list(answer.boxes[2]) == list(extent(found[2]))
    assert answer.thin == vanishes
    assert not refine(folders(name, 0), video(0, 4), [source], prompt="box")[2][0][0].thin


@pytest.mark.parametrize("name", KINDS)
def test_a_mask_of_which_no_pixel_is_left_is_written_as_it_was_given(folders, name):
    """Every third dot of a large picture: as a prompt it is the whole area, which is not the answer."""
    size = (432, 480)
    masks = np.zeros((2, *size), bool)
    masks[:, 100:400:3, 100:400:3] = True
    source = SourceMasks(masks.sum((1, 2)), np.float32(peak(1, 2)), [None] * 2, masks.__getitem__)
    model = load_refiner(folders(name, 0), device="cpu", refining=Refining())
    frames = [model.prepare(np.zeros((*size, 3), np.uint8))] * 2
    (answer,) = model.segment(frames, size, [""], None, Overlap(0, 2, [None], [source]))
    assert np.array_equal(answer.masks[1], masks[1])
    assert answer.thin


@pytest.mark.parametrize("prompt", ["mask", "box"])
@pytest.mark.parametrize("name", KINDS)
def test_a_frame_without_mask_has_no_score(folders, name, prompt, monkeypatch):
    """Also the frame of a box prompt, in which the model sees no object."""
    model = KINDS[name][1]
    forward = model.forward

    def empty(self, inference_session, frame_idx, **options):
        out = forward(self, inference_session, frame_idx, **options)
        if inference_session.point_inputs_per_obj[0] or frame_idx != 2:
            out.pred_masks = out.pred_masks * 0 - 1
        return out

    monkeypatch.setattr(model, "forward", empty)
    (found,), (scores,), _ = refine(folders(name, 0), video(0, 4), [given(peak(2, 4), 4)], prompt=prompt)
    shown = [prompt == "mask" and t == 2 for t in range(4)]
    assert found.any((1, 2)).tolist() == shown
    assert scores.tolist() == [np.float32(0.9) if each else 0 for each in shown]


@pytest.mark.parametrize("name", KINDS)
def test_the_masks_of_a_pair_do_not_depend_on_the_others_or_on_the_frames_that_are_wanted(folders, name):
    frames, sources = video(), [given(peak(7)), given(peak(3), shift=9), given(peak(12), empty=[1, 2])]
    together, _, _ = refine(folders(name, 0), frames, sources)
    for source, wanted in zip(sources, together, strict=True):
        (alone,), _, _ = refine(folders(name, 0), frames, [source])
        assert np.array_equal(alone, wanted)
    (some,), (scores,), _ = refine(folders(name, 0), frames, sources[:1], keep=[2, 9])
    assert np.array_equal(some, together[0][[2, 9]])
    assert len(scores) == 2


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("frames", [1, 2, 15, 16, 17])
def test_short_videos(folders, name, frames):
    shown, source = video(1, frames), given(peak(frames // 2, frames), frames)
    (found,), _, _ = refine(folders(name, 1), shown, [source])
    wanted, _ = published(folders(name, 1), name, shown, frames // 2, source.mask(frames // 2), "mask")
    assert np.array_equal(found, wanted)


def test_the_surest_mask_that_is_not_empty_prompts():
    scores = [0.9, 0.8, 0.8, 0.7]
    assert given(scores, 4).surest == 0
    assert given(scores, 4, empty=[0]).surest == 1
    assert given(scores, 4, empty=range(4)).surest is None
    larger = given(scores, 4, empty=[0])
    larger.areas[2] += 1
    assert larger.surest == 2  # of equal scores the larger mask
    assert given([], 0).surest is None


def test_nothing_is_nothing(folders):
    (found,), (scores,), ((answer,),) = refine(folders("sam2", 0), video(), [given(peak(3), empty=range(FRAMES))])
    assert not found.any()
    assert not scores.any()
    assert (answer.track, answer.margin, answer.finite) == (None, None, True)
    assert not answer.boxes.any()


@pytest.mark.parametrize("name", KINDS)
def test_later_windows_go_on_from_the_first(folders, name):
    """Without a prompt in them, they are the published loop forward; the first window is that loop on its frames."""
    frames = video(2)
    source = given(peak(4), empty=range(16, FRAMES))
    (found,), _, _ = refine(folders(name, 2), frames, [source], cuts=[0, 16, 18])
    first, _ = published(folders(name, 2), name, frames[:16], 4, source.mask(4), "mask")
    assert np.array_equal(found[:16], first)
    forward = given(peak(0), empty=range(16, FRAMES))
    (found,), _, _ = refine(folders(name, 2), frames, [forward], cuts=[0, 16, 18])
    wanted, _ = published(folders(name, 2), name, frames, 0, forward.mask(0), "mask")
    assert np.array_equal(found, wanted)


def test_an_object_that_comes_in_a_later_window_is_found_there(folders):
    frames, source = video(2), given(peak(17), empty=range(16))
    (found,), _, _ = refine(folders("sam2", 2), frames, [source], cuts=[0, 16])
    assert not found[:16].any()
    (alone,), _, _ = refine(folders("sam2", 2), frames[16:], [window(source, 16, FRAMES)])
    assert np.array_equal(found[16:], alone)


def test_a_second_try_gives_the_same_masks(folders):
    frames, source = video(1), given(peak(3))
    model = load_refiner(folders("sam2", 1), device="cpu")
    prepared = [model.prepare(frame) for frame in frames]
    (first,) = model.segment(prepared[:16], SIZE, [""], None, Overlap(0, 16, [None], [window(source, 0, 16)]))
    later = Overlap(16, FRAMES, [first.track], [window(source, 16, FRAMES)])
    once, again = (next(model.segment(prepared[16:], SIZE, [""], None, later)) for _ in range(2))
    assert np.array_equal(once.masks, again.masks)
    assert np.array_equal(once.scores, again.scores)


def test_an_object_that_is_lost_is_prompted_again(folders, monkeypatch):
    """In later windows, after eight frames without it of which the given masks are sure."""
    folder, frames = folders("sam2", 0), video(0, 40)
    model = load_refiner(folder, device="cpu")
    forward = type(model.model).forward

    def lost(self, inference_session, frame_idx, **options):
        out = forward(self, inference_session, frame_idx, **options)
        if frame_idx not in inference_session.output_dict_per_obj[0]["cond_frame_outputs"]:
            out.object_score_logits = out.object_score_logits * 0 - 1
        return out

    monkeypatch.setattr(type(model.model), "forward", lost)
    scores = [0.8] + [0.5] * 39
    scores[20] = 0.3  # not sure: the count begins again
    masks = np.repeat(given(scores, 40).mask(0)[None], 40, 0)
    masks[30] = False  # not there: again
    source = SourceMasks(masks.sum((1, 2)), np.float32(scores), [0.5] * 40, masks.__getitem__)
    (_,), (found,), answers = refine(folder, frames, [source], cuts=[0, 16])
    prompted = [t for t in range(40) if found[t] > 0.45]
    assert prompted == [0, 29, 39]
    assert answers[0][1].margin == 0.5


@pytest.mark.parametrize("objects", [1, 2])
def test_fuse_unites_the_masks_where_the_given_ones_have_several_objects(folders, objects):
    frames, source = video(), given(peak(4))
    (plain,), _, _ = refine(folders("sam2", 0), frames, [source])
    boxes = plain.reshape(FRAMES, -1).sum(1)
    assert boxes.any()
    wide = np.zeros((FRAMES, *SIZE), bool)
    for t in range(FRAMES):
        wide[t] = source.mask(t)
        if objects == 2:
            wide[t, [0, -1], :] = wide[t, :, [0, -1]] = True
    both = SourceMasks(wide.sum((1, 2)), source.scores, source.margins, wide.__getitem__)
    (alone,), _, _ = refine(folders("sam2", 0), frames, [both])
    (fused,), _, ((answer,),) = refine(folders("sam2", 0), frames, [both], fuse=True)
    smaller = [3 * area(one) < 2 * area(other) for one, other in zip(alone, wide, strict=True) if one.any()]
    assert np.array_equal(fused, alone | wide if 2 * sum(smaller) > len(smaller) else alone)
    assert [list(box) for box in answer.boxes] == [list(extent(mask)) for mask in fused]


def extent(mask):
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    return (columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]) if len(rows) else (0, 0, 0, 0)


def area(mask):
    return extent(mask)[2] * extent(mask)[3]


def test_memory_does_not_grow_with_the_video(folders):
    frames = video(3, 96)
    sizes = []
    for count in (48, 96):
        source = given(peak(2, count), count)
        _, _, ((*_, answer),) = refine(folders("sam2", 3), frames[:count], [source], cuts=list(range(0, count, 16)))
        outputs = answer.track.session.output_dict_per_obj[0]
        sizes.append(sum(len(frames) for frames in outputs.values()))
    assert sizes[0] == sizes[1] <= 20


def test_weights_that_are_not_finite_are_found(tmp_path):
    folder = write_sam2(tmp_path, scale=float("nan"))
    for prompt in ("mask", "box"):
        _, _, ((answer,),) = refine(folder, video(0, 1), [given([0.9], 1)], prompt=prompt)
        assert not answer.finite


@pytest.mark.parametrize("name", KINDS)
def test_half_precision_runs_and_starts_from_the_same_mask(folders, name):
    frames, source = video(1, 3), given(peak(1, 3), 3)
    model = load_refiner(folders(name, 1), device="cpu", precision="bf16")
    prepared = [model.prepare(frame) for frame in frames]
    (answer,) = model.segment(prepared, SIZE, [""], None, Overlap(0, 3, [None], [source]))
    (wanted,), _, _ = refine(folders(name, 1), frames, [source])
    assert answer.finite
    assert np.array_equal(answer.masks[1], wanted[1])


def test_unknown_precisions_prompts_and_devices_are_refused(folders):
    for options in ({"precision": "fp16"}, {"refining": Refining(prompt="words")}, {"device": "abacus"}):
        with pytest.raises(ValueError, match="unknown"):
            load_refiner(folders("sam2", 0), **{"device": "cpu"} | options)
