"""Any tree of videos, and the ways to say what is to be found in them."""

import json

import pytest

from pipeline.datasets import folder
from pipeline.datasets.common import dataset_video, video_tree
from schemas.errors import InputError

FRAMES = ["0001", "0002"]


@pytest.fixture
def root(tmp_path, write_frames):
    """Two files, two folders of images, one hidden thing, one that is no video."""
    root = tmp_path / "clips"
    for path in ("day/one.mp4", "night/one.MOV", ".hidden/x.mp4", "day/notes.txt"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    write_frames(root / "night/two", FRAMES)
    write_frames(root / "three", FRAMES, "png")
    return root


def write(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return str(tmp_path / name)


def test_one_list_for_all(root, tmp_path):
    found = list(folder.read(str(root), expressions=write(tmp_path, "a.txt", "a cat\n\n  a dog \n")))
    assert [video.video_id for video in found] == ["day__one", "night__one", "night__two", "three"]
    assert [pair["video_uri"] for pair in found[0].pairs] == [str(root / "day/one.mp4")] * 2
    assert [(pair["expression_id"], pair["expression"]) for pair in found[2].pairs] == [("0", "a cat"), ("1", "a dog")]
    assert [video.pairs[0]["num_frames"] for video in found] == [None, None, 2, 2]


CSV = """video,expression,expression_id,kind
day/one,"a cat, sitting",x,static
night/one.MOV,a dog,,
two,  é ,,dynamic
./three/,for three,0,
,for all,,
"""


def test_csv(root, tmp_path):
    found = {video.video_id: video for video in folder.read(str(root), expressions=write(tmp_path, "a.csv", CSV))}
    assert found["day__one"].pairs[0] == {
        "video_id": "day__one",
        "video_uri": str(root / "day/one.mp4"),
        "expression_id": "x",
        "expression": "a cat, sitting",
        "num_frames": None,
        "kind": "static",
    }
    assert [(pair["expression_id"], pair["expression"]) for pair in found["three"].pairs] == [
        ("0", "for three"), ("1", "for all"),
    ]  # fmt: skip
    assert [pair["expression"] for pair in found["night__two"].pairs] == ["é", "for all"]


def test_absolute_paths_and_uris_of_videos(root, tmp_path):
    """Lists are made by `find /data/clips` or by `Path.as_uri()`."""
    lines = [f"{root}/day/one.mp4,a", f"{(root / 'night/one.MOV').as_uri()},b", f"{root}/three/,c"]
    found = folder.read(str(root), expressions=write(tmp_path, "a.csv", "\n".join(["video,expression", *lines])))
    assert {video.video_id: [pair["expression"] for pair in video.pairs] for video in found} == {
        "day__one": ["a"], "night__one": ["b"], "three": ["c"], "night__two": [],
    }  # fmt: skip
    other = write(tmp_path, "b.csv", "video,expression\n/elsewhere/one.mp4,a\n")
    with pytest.raises(InputError, match="unknown video '/elsewhere/one.mp4'"):
        list(folder.read(str(root), expressions=other))


def test_jsonl(root, tmp_path):
    rows = [
        {"video": "day__one", "expression": "x", "annotator": "me", "level": 2},
        {"video": "three", "expression": ""},
    ]
    text = "\n".join(map(json.dumps, rows))
    found = list(folder.read(str(root), expressions=write(tmp_path, "a.jsonl", text)))
    assert (found[0].pairs[0]["annotator"], found[0].pairs[0]["level"]) == ("me", 2)
    assert [what for what, _ in found[3].warnings] == [dataset_video.NO_TEXT]
    assert [what for what, _ in found[1].warnings] == [dataset_video.NO_EXPRESSIONS]


BAD = {
    "unknown video 'nine'": ("a.csv", "video,expression\nnine,x\n"),
    "'one' is ambiguous: day__one, night__one": ("a.csv", "video,expression\none,x\n"),
    "needs a column 'expression'": ("a.csv", "video,text\nthree,x\n"),
    "'object_ids' is a manifest column": ("a.jsonl", '{"expression": "x", "object_ids": ["1"]}'),
    "'kind' must be a plain value": ("a.jsonl", '{"expression": "x", "kind": []}'),
    "more values than columns": ("a.csv", "expression\na,b\n"),
    "duplicate column 'expression'": ("a.csv", "expression,expression\na,b\n"),
    "after line 1: unexpected end of data": ("a.csv", 'expression\n"open\nx\n'),
    "line 2: not valid JSON": ("a.jsonl", '{"expression": "x"}\n{'),
    "must be a JSON object": ("a.jsonl", "[]"),
    "has no expressions": ("a.txt", "\n"),
    "must be .csv, .tsv, .jsonl, .ndjson, .parquet or .txt": ("a.xml", "x"),
}


@pytest.mark.parametrize("text", BAD)
def test_bad_lists(root, tmp_path, text):
    with pytest.raises(InputError, match=text):
        list(folder.read(str(root), expressions=write(tmp_path, *BAD[text])))


def test_bad_ids(root, tmp_path):
    text = "video,expression,expression_id\nthree,x,1\nthree,y,1\nthree,z,../a\n"
    found = list(folder.read(str(root), expressions=write(tmp_path, "a.csv", text)))[3]
    assert "duplicate expression_id '1'" in found.problems[0]
    assert "line 4" in found.problems[1]
    (root / "day__one.mp4").write_bytes(b"")
    with pytest.raises(InputError, match="have the same id day__one"):
        folder.read(str(root), expressions=write(tmp_path, "a.txt", "x"))


def test_names_in_another_encoding_are_left_out(root, tmp_path):
    (root / "caf\udce9").mkdir()
    (root / "caf\udce9/1.png").write_bytes(b"")
    (root / "caf\udce9.mp4").write_bytes(b"")
    found = list(folder.read(str(root), expressions=write(tmp_path, "a.txt", "x")))
    assert len(found) == 4
    assert [reason for reason, _ in found[0].skipped].count(video_tree.NOT_TEXT) == 2


def test_unicode_forms_of_one_name_are_the_same(tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "Cafe\u0301.mp4").write_bytes(b"")
    (found,) = folder.read(str(tmp_path / "v"), expressions=write(tmp_path, "a.csv", "video,expression\nCaf\u00e9,x\n"))
    assert (found.video_id, len(found.pairs)) == ("Caf\u00e9", 1)
    assert found.pairs[0]["video_uri"] == str(tmp_path / "v" / "Cafe\u0301.mp4")
    (tmp_path / "v" / "Caf\u00e9.mp4").write_bytes(b"")
    with pytest.raises(InputError, match=r"'Cafe\\u0301.mp4' have the same id|'Caf\\xe9.mp4' have the same id"):
        folder.read(str(tmp_path / "v"), expressions=write(tmp_path, "a.txt", "x"))


def test_long_names_get_short_ids(tmp_path):
    (tmp_path / "v").mkdir()
    names = ["\u732b" * 80 + end for end in "ab"]
    for name in names:
        (tmp_path / "v" / f"{name}.mp4").write_bytes(b"")
    csv = write(tmp_path, "a.csv", f"video,expression\n{names[1]}.mp4,x\n")
    found = list(folder.read(str(tmp_path / "v"), expressions=csv))
    assert all(len(video.video_id.encode()) <= 240 for video in found)
    assert [len(video.pairs) for video in found if video.pairs] == [1]
    assert len({video.video_id for video in found}) == 2


def test_names_that_differ_in_the_suffix_only(tmp_path):
    (tmp_path / "v").mkdir()
    for name in ("a.mp4", "a.mov", "b.mp4"):
        (tmp_path / "v" / name).write_bytes(b"")
    csv = write(tmp_path, "a.csv", "video,expression\na.mov,x\nb,y\n")
    found = {video.video_id: video for video in folder.read(str(tmp_path / "v"), expressions=csv)}
    assert {name: len(video.pairs) for name, video in found.items()} == {"a.mp4": 0, "a.mov": 1, "b": 1}
    assert [text for text, _ in found["a.mov"].warnings if "suffix" in text] == [folder.SAME_STEM] * 2
    with pytest.raises(InputError, match=r"video 'a' is ambiguous: a.mov, a.mp4"):
        folder.read(str(tmp_path / "v"), expressions=write(tmp_path, "b.csv", "video,expression\na,x\n"))


@pytest.mark.parametrize("length", [214, 251])
def test_names_as_long_as_the_file_system_takes(tmp_path, length):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / f"{'n' * length}.mp4").write_bytes(b"")
    csv = write(tmp_path, "a.csv", f"video,expression\n{'n' * length},x\n")
    (found,) = folder.read(str(tmp_path / "v"), expressions=csv)
    assert len(found.pairs) == 1
    assert (found.video_id == "n" * length) == (length <= 240)


def test_a_sentence_about_a_file_that_was_left_out(root, tmp_path):
    with pytest.raises(InputError, match=r"unknown video 'day/notes.txt', which was left out: files that are neither"):
        folder.read(str(root), expressions=write(tmp_path, "a.csv", "video,expression\nday/notes.txt,x\n"))


def test_errors(tmp_path, root):
    sentences = write(tmp_path, "a.txt", "x")
    with pytest.raises(InputError, match="needs --expressions"):
        folder.read(str(root))
    with pytest.raises(InputError, match="does not exist; give a file of sentences"):
        folder.read(str(root), expressions=str(tmp_path / "gone.csv"))
    with pytest.raises(InputError, match="is not a folder"):
        folder.read(str(tmp_path / "gone"), expressions=sentences)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no videos in"):
        folder.read(str(tmp_path / "empty"), expressions=sentences)


def test_a_folder_of_images_itself(root, tmp_path):
    (found,) = folder.read(str(root / "three"), expressions=write(tmp_path, "a.txt", "x"))
    assert (found.video_id, found.pairs[0]["video_uri"]) == ("three", str(root / "three"))


def test_linked_folders_are_followed_but_never_in_circles(root, tmp_path, write_frames):
    write_frames(tmp_path / "elsewhere/four", FRAMES)
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(root)
    sentences = write(tmp_path, "a.txt", "a cat")
    found = list(folder.read(str(root), expressions=sentences, follow_links=True))
    assert [video.video_id for video in found] == ["day__one", "linked__four", "night__one", "night__two", "three"]


def test_links_that_leave_the_root_are_left_out_and_counted(root, tmp_path, write_frames):
    (tmp_path / "secret.mp4").write_bytes(b"\0\0\0\x18ftyp")
    write_frames(tmp_path / "elsewhere/four", FRAMES)
    write_frames(root / "mixed", FRAMES[:2])
    (root / "mixed/link.jpg").symlink_to(tmp_path / "elsewhere/four" / f"{FRAMES[0]}.jpg")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    (root / "file.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "up.mp4").symlink_to("../secret.mp4")
    (root / "passwd").symlink_to("/etc/passwd")
    (root / "inside").symlink_to(root / "three")
    found = list(folder.read(str(root), expressions=write(tmp_path, "a.txt", "a cat")))
    assert [video.video_id for video in found] == ["day__one", "inside", "night__one", "night__two", "three"]
    left = [path for video in found for reason, path in video.skipped if reason == video_tree.LEAVES]
    assert left == ["file.mp4", "folder", "passwd", "up.mp4", "mixed/link.jpg"]


@pytest.mark.parametrize("header", ["sentence;video", "expressions,video", "the expression"])
def test_a_header_without_the_column(root, tmp_path, header):
    with pytest.raises(InputError, match="it needs a column 'expression'"):
        folder.read(str(root), expressions=write(tmp_path, "a.csv", f"{header}\na cat,x\n"))


def test_a_folder_of_sentences(root):
    with pytest.raises(InputError, match="is a folder; give a file"):
        folder.read(str(root), expressions=str(root))


def test_a_sentence_without_a_video_among_others_is_said(root, tmp_path):
    rows = [{"video": None, "expression": "a"}, {"expression": "b"}]
    both = write(tmp_path, "all.jsonl", "\n".join(map(json.dumps, rows)))
    videos = list(folder.read(str(root), expressions=both))
    assert folder.OF_ALL not in [text for video in videos for text, _ in video.warnings]
    named = {"video": videos[0].video_id, "expression": "c"}
    some = write(tmp_path, "some.jsonl", "\n".join(map(json.dumps, [*rows, named])))
    warnings = [place for video in folder.read(str(root), expressions=some) for text, place in video.warnings]
    assert [place.partition(" of ")[0] for place in warnings if "some.jsonl" in place] == ["line 1", "line 2"]
