"""Ref-DAVIS17: the text files of both annotators, and the same after the usual conversion."""

import json

import numpy as np
import pytest

from pipeline.datasets import ref_davis17
from schemas.errors import InputError

FRAMES = ["00000", "00001"]
TEXTS = {
    "Davis17_annot1.txt": 'dogs 2 "a brown  dog"\nclasic-car 1 "a car"\ndogs 1 "a dog"\n',
    "Davis17_annot1_full_video.txt": 'dogs 1 "the dog, running"\nclassic-car 1 "a car"\ndogs 2 "second"\n',
    "Davis17_annot2.txt": 'dogs 1 "chien \xe0 gauche"\r\nclassic-car 1 "it\x92s a car"\r\ndogs 2 "d\'or"\r\n',
    "Davis17_annot2_full_video.txt": 'dogs 1 no quotes\nclassic-car 1 "a"\ndogs 2 "x"\n\n',
}


@pytest.fixture
def root(tmp_path, write_frames, write_masks, half):
    base = tmp_path / "DAVIS"
    for video in ("classic-car", "dogs"):
        write_frames(base / "JPEGImages/480p" / video, FRAMES)
        write_masks(base / "Annotations_unsupervised/480p" / video, {name: np.where(half, 1, 2) for name in FRAMES})
    (base / "ImageSets/2017").mkdir(parents=True)
    (base / "ImageSets/2017/val.txt").write_text("dogs\nclassic-car\n")
    (base / "davis_semantics.json").write_text(json.dumps({"dogs": {"1": "dog", "2": "puppy"}}))
    (tmp_path / "davis_text_annotations").mkdir()
    for name, text in TEXTS.items():
        (tmp_path / "davis_text_annotations" / name).write_bytes(text.encode("latin-1"))
    return tmp_path


def test_text_files(root):
    car, dogs = ref_davis17.read(str(root), "valid")
    assert (car.video_id, dogs.video_id) == ("classic-car", "dogs")
    assert [pair["expression_id"] for pair in dogs.pairs] == list("01234567")
    assert [pair["expression"] for pair in dogs.pairs] == [
        "a dog", "the dog, running", "chien à gauche", "no quotes", "a brown dog", "second", "d'or", "x",
    ]  # fmt: skip
    assert [pair["object_ids"] for pair in dogs.pairs] == [["1"]] * 4 + [["2"]] * 4
    assert [pair["annotator"] for pair in dogs.pairs] == list("01230123")
    assert [pair["kind"] for pair in car.pairs] == ["first-frame", "full-video"] * 2
    assert car.pairs[2]["expression"] == "it\x92s a car"
    assert {pair["split"] for pair in dogs.pairs} == {"valid"}
    assert [pair.get("category") for pair in dogs.pairs[3:5]] == ["dog", "puppy"]
    assert dogs.annotations.num_rows == 4
    for found in (car, dogs):
        assert not found.problems
        assert not found.warnings


def test_missing_and_second_sentences(root):
    folder = root / "davis_text_annotations"
    (folder / "Davis17_annot1.txt").write_text('dogs 1 "a dog"\ndogs 1 "again"\nclassic-car 1 "a car"\n')
    _, dogs = ref_davis17.read(str(root), "val")
    assert [pair["expression_id"] for pair in dogs.pairs] == list("0123567")  # numbers stay the published ones
    assert dogs.pairs[0]["expression"] == "a dog"
    assert {what for what, _ in dogs.warnings} == {ref_davis17.FEWER_TEXTS, ref_davis17.SECOND_TEXT}
    (folder / "Davis17_annot2.txt").write_text("dogs one text\n\ndogs 1\n")
    with pytest.raises(InputError) as caught:
        ref_davis17.read(str(root), "val")
    assert [line.partition(": ")[0].rpartition("/")[2] for line in str(caught.value).splitlines()] == [
        f"Davis17_annot2.txt line {line}" for line in (1, 2, 3)
    ]
    (folder / "Davis17_annot2.txt").unlink()
    with pytest.raises(InputError, match="needs the texts of both"):
        ref_davis17.read(str(root), "val")


def test_real_converted_tree(shared):
    found = list(ref_davis17.read(str(shared / "data/real")))
    assert [len(video.pairs) for video in found] == [4, 4, 4]
    assert [pair["annotator"] for video in found for pair in video.pairs] == list("0123") * 3
    (trees,) = ref_davis17.read(str(shared / "data/real/first_frame_only"))
    assert [(pair["annotator"], pair["object_ids"]) for pair in trees.pairs] == [
        (annotator, [object_id]) for object_id in "12" for annotator in "0123"
    ]


def test_the_text_files_give_what_the_conversion_gives(shared, root, write_frames):
    """The converted sentences of the real data, written back into the four files, come out with the same numbers."""
    videos = json.loads((shared / "data/real/first_frame_only/meta_expressions.json").read_text())["videos"]
    lines: dict[str, list[str]] = {name: [] for name in ref_davis17.FILES}
    for video, content in videos.items():
        write_frames(root / "DAVIS/JPEGImages/480p" / video, FRAMES)
        for number, expression in content["expressions"].items():
            file = ref_davis17.FILES[int(number) % 4]
            lines[file].append(f'{video} {expression["obj_id"]} "{expression["exp"]}"')
    for file, text in lines.items():
        (root / "davis_text_annotations" / file).write_text("\n".join(text))
    (root / "DAVIS/ImageSets/2017/val.txt").write_text("\n".join(videos))
    raw = [pair for found in ref_davis17.read(str(root), "val") for pair in found.pairs]
    converted = [pair for found in ref_davis17.read(str(shared / "data/real/first_frame_only")) for pair in found.pairs]
    columns = ("video_id", "expression_id", "expression", "object_ids", "annotator", "kind")
    assert [[pair[name] for name in columns] for pair in raw] == [
        [pair[name] for name in columns] for pair in converted
    ]


def test_converted_tree_in_another_order(tmp_path, write_frames):
    write_frames(tmp_path / "JPEGImages/a", FRAMES)
    expressions = {str(i): {"exp": "x", "obj_id": str(i % 2)} for i in range(4)}
    videos = {"a": {"frames": FRAMES, "expressions": expressions}}
    (tmp_path / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    (found,) = ref_davis17.read(str(tmp_path))
    assert [what for what, _ in found.warnings] == [ref_davis17.NOT_FOUR]
    assert "annotator" not in found.pairs[0]


@pytest.mark.parametrize("protocol", ["ref-davis17", "ref-davis17-strict"])
def test_scored_by_its_protocol(root, score_itself, protocol):
    summary = score_itself("ref-davis17", root, protocol, by=("annotator", "kind"), split="valid")
    assert summary["overall"]["J&F"] == 1
    assert {row["value"]: row["n"] for row in summary["by"]["annotator"]} == dict.fromkeys("0123", 3)
