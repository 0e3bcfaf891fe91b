"""Synthetic videos: the same from the same seed, sentences that are true of one shape, splits that differ."""

from collections import Counter

import numpy as np
import pytest

from pipeline.datasets.synthetic.kinds import FOCUSES, SPLITS, STILL_FOCUSES
from pipeline.datasets.synthetic.shape_scenes import UNSEEN, SceneShape
from pipeline.datasets.synthetic.shape_sentences import opposite_direction, sentences
from pipeline.datasets.synthetic.synthetic import SyntheticVideos
from pipeline.io.manifest import read_manifest
from pipeline.io.parquet import read_table
from pipeline.video import Selection, read_frames
from schemas import rle


@pytest.fixture(scope="module")
def scenes():
    """Some scenes of each split."""
    return {split: [SyntheticVideos(videos=36, split=split).scene(i) for i in range(36)] for split in SPLITS}


def test_each_kind_of_sentence_has_its_turn(scenes):
    for split in SPLITS:
        kinds = [scene.sentences[0].kind for scene in scenes[split]]
        assert kinds == list(FOCUSES) * 6


def test_scenes_follow_from_the_seed_and_differ_between_splits(scenes):
    again = SyntheticVideos(videos=1).scene(5)
    assert again.sentences == scenes["train"][5].sentences
    np.testing.assert_array_equal(again.seen, scenes["train"][5].seen)
    assert len({tuple(scenes[split][5].sentences) for split in SPLITS}) == 3
    assert SyntheticVideos(videos=1, seed=1).scene(5).sentences != again.sentences


def test_some_looks_are_never_seen_in_training(scenes):
    def unseen(split: str) -> int:
        return sum(actor.look in UNSEEN for scene in scenes[split] for actor in scene.actors)

    assert unseen("train") == 0
    assert min(unseen("val"), unseen("test")) >= 18


def test_absent_targets_leave_the_frame_for_part_of_the_clip(scenes):
    count = 0
    for scene in (scene for split in SPLITS for scene in scenes[split]):
        for sentence in scene.sentences:
            if sentence.kind == "absence":
                there = scene.whole[sentence.target].any((1, 2))
                assert 0.2 <= there.mean() <= 0.9
                assert there[0] != there[-1]
                count += 1
    assert count >= 18


def actor(colour="red", form="circle", size="small", motion="still", passage=None, at=(20, 20), to=None) -> SceneShape:
    path = np.linspace(at, to or at, 5).astype(float)
    return SceneShape(colour=colour, form=form, size=size, motion=motion, passage=passage, radius=8.0, path=path)


def said(*actors: SceneShape) -> set[tuple[str, str, int | None]]:
    found = set()
    for seed in range(20):
        found |= {(s.text, s.kind, s.target) for s in sentences(list(actors), 96, np.random.default_rng(seed))}
    return found


def test_what_tells_look_alikes_apart_is_said_and_nothing_else():
    left = actor(motion="left", at=(60, 20), to=(30, 20))
    right = actor(motion="right", at=(60, 70), to=(100, 70))
    found = said(left, right)
    assert ("the red circle moving left", "motion", 0) in found
    assert ("the topmost circle", "position", 0) in found
    assert {kind for _, kind, _ in found} == {"motion", "position"}
    assert not {text for text, _, _ in found if "leftmost" in text}  # not in every frame


def test_relations_hold_in_all_frames_and_for_no_look_alike():
    anchor = actor(colour="blue", form="square", at=(60, 40))
    near, far = actor(at=(30, 40)), actor(at=(90, 40))
    found = said(near, far, anchor)
    assert ("the red circle left of the blue square", "relation", 0) in found
    assert ("the circle to the right of the blue square", "relation", 1) in found
    both = said(near, actor(at=(20, 70)), anchor)
    assert not {text for text, kind, _ in both if kind == "relation" and "left" in text}


def test_a_direction_can_be_turned_round():
    assert opposite_direction("the red circle moving left") == "the red circle moving right"
    assert opposite_direction("the circle on the left") is None
    assert opposite_direction("the circle that stays still") is None


def test_front_shapes_hide_those_behind():
    data = SyntheticVideos(videos=1)
    scene = data.scene(0)
    assert (scene.seen.sum(0) <= 1).all()
    assert (scene.seen <= scene.whole).all()
    np.testing.assert_array_equal(scene.seen[-1], scene.whole[-1])


def test_what_is_written_can_be_read(tmp_path):
    data = SyntheticVideos(videos=6, split="test", frames=(6, 8), no_target=True)
    manifest, annotations, kinds = data.write(str(tmp_path))
    pairs = read_manifest(manifest).to_pylist()
    assert Counter(pair["kind"] for pair in pairs) == kinds
    assert kinds["no-target"] == 6
    masks = {
        (row["video_id"], row["object_id"], row["frame_index"]): row for row in read_table(annotations).to_pylist()
    }
    for pair in pairs:
        frames = list(read_frames(pair["video_uri"], Selection()))
        assert len(frames) == pair["num_frames"]
        assert (pair["object_ids"] == []) == (pair["kind"] == "no-target")
        for target in pair["object_ids"]:
            assert all((pair["video_id"], target, frame.index) in masks for frame in frames)
    scene = data.scene(0)
    for t in range(scene.seen.shape[1]):
        row = masks["test-00000", "0", t]
        decoded = rle.decode(row["counts"], 96, 128) if row["counts"] else np.zeros((96, 128), bool)
        np.testing.assert_array_equal(decoded, scene.seen[0, t])


def test_single_frames_are_told_apart_by_what_they_can_show():
    data = SyntheticVideos(videos=8, frames=(1, 1))
    kinds = {sentence.kind for i in range(8) for sentence in data.scene(i).sentences}
    assert kinds == set(STILL_FOCUSES)


def test_a_focus_takes_all_scenes_and_most_sentences():
    data = SyntheticVideos(videos=6, focus="motion", expressions=3)
    kinds = Counter(sentence.kind for i in range(6) for sentence in data.scene(i).sentences)
    assert kinds["motion"] > 0.8 * kinds.total()
    assert all(data.scene(i).sentences[0].kind == "motion" for i in range(6))


def test_where_the_look_tells_shapes_apart_two_share_half_of_it():
    data = SyntheticVideos(videos=6, split="val", focus="appearance")
    for index in range(6):
        looks = [actor.look for actor in data.scene(index).actors]
        assert len(set(looks)) == len(looks)
        assert any((one[0] == other[0]) != (one[1] == other[1]) for i, one in enumerate(looks) for other in looks[:i])
