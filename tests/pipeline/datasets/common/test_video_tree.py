"""A tree of files is divided into videos and files that are left out, each with its reason."""

from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.datasets.common import video_tree
from pipeline.datasets.common.video_tree import find_videos
from pipeline.video.folder import IS_AMONG_FRAMES, THUMBNAILS, list_frames


def image(path: Path, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(path, **options)


def animation(path: Path) -> None:
    frames = [Image.fromarray(np.full((6, 8, 3), 99 * number, np.uint8)) for number in range(3)]
    frames[0].save(path, format="PNG" if path.suffix == ".apng" else None, save_all=True, append_images=frames[1:])


def clip(path: Path, form: str) -> None:
    with av.open(str(path), "w", format=form) as container:
        codec = {"mxf": "mpeg2video", "vob": "mpeg2video", "mpegts": "mpeg2video", "flv": "flv"}.get(form, "mpeg4")
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = 32, 32
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def reasons(tree) -> dict[str, int]:
    return dict(Counter(reason for reason, _ in tree.skipped))


def test_suffixes_of_images_and_clips(tmp_path):
    for suffix in ("webp", "bmp", "tiff", "jfif", "JPG"):
        for number in range(2):
            image(tmp_path / suffix / f"{number}.{suffix}", format="JPEG" if suffix in ("jfif", "JPG") else None)
    touch(tmp_path, "a.MTS", "b.m2ts", "c.3gp", "d.vob", "e.mxf", "f.y4m", "g.MPEG4", "h.ogv")
    for name in ("anim.png", "anim.webp", "anim.apng", "anim.gif"):
        animation(tmp_path / name)
    tree = find_videos(str(tmp_path))
    assert sorted(tree.folders) == ["JPG", "bmp", "jfif", "tiff", "webp"]
    assert len(tree.files) == 8 + 4
    assert (tree.skipped, tree.assumed) == ([], [])


@pytest.mark.parametrize("form", ["mp4", "matroska", "avi", "mpegts", "flv", "asf", "vob", "mxf"])
def test_content_decides_where_the_suffix_does_not(tmp_path, form):
    for name in ("clip", "clip.0001", "clip.ts"):
        clip(tmp_path / name, form)
    touch(tmp_path, "code.ts", "more")
    tree = find_videos(str(tmp_path))
    assert tree.files == ["clip", "clip.0001", "clip.ts"]
    assert reasons(tree) == {video_tree.IS_OTHER: 2}


def test_thumbnails_next_to_clips_are_no_frames(tmp_path):
    touch(tmp_path, "My dog [abc].mp4", "b.mkv", "b.info.json", "b.en.vtt", "c.mp4.part")
    for name in ("My dog [abc].jpg", "b-thumb.webp", "b.mkv.png", "thumbs/b.jpg", "cover.jpg", "Foto.jpg"):
        image(tmp_path / name)
    tree = find_videos(str(tmp_path))
    assert (tree.files, tree.folders) == (["My dog [abc].mp4", "b.mkv"], [])
    expected = {
        THUMBNAILS: 5,
        video_tree.IS_BESIDE: 1,
        video_tree.IS_OTHER: 2,
        video_tree.IS_UNFINISHED: 1,
    }
    assert reasons(tree) == expected


def test_folders_of_the_system_are_left_out(tmp_path):
    touch(tmp_path, "@eaDir/a.mp4/x.mp4", "#recycle/b.mp4", "__MACOSX/._c.mp4", ".Trash-1000/d.mp4", "a.mp4", "._a.mp4")
    touch(tmp_path, "frames/Thumbs.db", "frames/desktop.ini", "frames/.DS_Store", "lost+found/e.mp4")
    for name in ("0.jpg", "1.jpg", "._0.jpg"):
        image(tmp_path / "frames" / name)
    tree = find_videos(str(tmp_path))
    assert (tree.files, tree.folders) == (["a.mp4"], ["frames"])
    assert set(reasons(tree)) == {video_tree.IS_SYSTEM}
    assert {"._a.mp4", "frames/Thumbs.db", "#recycle", "lost+found"} <= {path for _, path in tree.skipped}


def test_what_is_assumed_is_said(tmp_path):
    for name in (*(f"prefixed/frame_{number}.jpg" for number in range(1, 12)), "cover/1.jpg", "cover/2.jpg"):
        image(tmp_path / name)
    image(tmp_path / "cover/mountain.jpg")
    image(tmp_path / "single/dog.jpg")
    tree = find_videos(str(tmp_path))
    assert sorted(tree.folders) == ["cover", "prefixed", "single"]
    assert sorted(tree.assumed) == sorted(
        [
            (video_tree.NATURAL, "prefixed"),
            (video_tree.ODD_NAMES, "cover/mountain.jpg"),
            (video_tree.ONE_IMAGE, "single/dog.jpg"),
        ]
    )


def test_folders_of_masks_are_said(tmp_path):
    for name in ("JPEGImages/v", "Annotations/v", "w/GT"):
        image(tmp_path / name / "0.png")
        image(tmp_path / name / "1.png")
    tree = find_videos(str(tmp_path))
    assert sorted(tree.folders) == ["Annotations/v", "JPEGImages/v", "w/GT"]
    assert sorted(tree.assumed) == [(video_tree.MASKS, "Annotations/v"), (video_tree.MASKS, "w/GT")]


def test_one_image_above_other_videos_is_none(tmp_path):
    image(tmp_path / "logo.jpg")
    touch(tmp_path, "clips/a.mp4", "clips/b.heic")
    tree = find_videos(str(tmp_path))
    assert (tree.files, tree.folders) == (["clips/a.mp4"], [])
    assert reasons(tree) == {video_tree.IS_UNREADABLE: 1, video_tree.IS_BESIDE: 1}


NUMBERED = [f"{number}.jpg" for number in range(1, 6)]


@pytest.mark.parametrize(
    ("more", "thumbnails"),
    [
        (["preview.jpg"], ["preview.jpg"]),
        (["Cover.PNG", "3_thumb.jpg"], ["3_thumb.jpg", "Cover.PNG"]),
        (["clip.mov.png", "clip.json"], []),
        (["take.json", "take.jpg"], ["take.jpg"]),
        (["2.txt"], []),  # a frame that has a file next to it is a frame
        (["mountain.jpg"], []),
    ],
)
def test_one_rule_for_thumbnails(tmp_path, more, thumbnails):
    """Import, check and segment leave out the same files, whatever ROOT is."""
    names = [*NUMBERED, *more]
    for name in names:
        (image if name.lower().endswith(("jpg", "png")) else touch_one)(tmp_path / "root/frames" / name)
    for root, prefix in ((tmp_path / "root/frames", ""), (tmp_path / "root", "frames/")):
        tree = find_videos(str(root))
        said = sorted(path for reason, path in tree.skipped if reason == THUMBNAILS)
        assert said == [prefix + name for name in thumbnails]
        assert not {path for _, path in tree.assumed} & set(said)
        assert tree.folders == [prefix.rstrip("/")]
    left_out = []
    frames = list_frames(str(tmp_path / "root/frames"), left_out)
    assert set(frames.values()) == {name for name in names if name.endswith((".jpg", ".png"))} - set(thumbnails)
    assert sum(one.count for one in left_out if one.reason == THUMBNAILS) == len(thumbnails)


def touch_one(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_thumbnails_of_the_clips_above_are_no_video_and_frames_named_like_clips_are(tmp_path):
    touch(tmp_path, "a.mp4", "2.mp4")
    for name in ("thumbs/a.jpg", "thumbs/gone.jpg", "frames/1.jpg", "frames/2.jpg", "frames/3.jpg"):
        image(tmp_path / name)
    tree = find_videos(str(tmp_path))
    assert tree.folders == ["frames"]
    assert reasons(tree) == {THUMBNAILS: 1, video_tree.IS_BESIDE: 1}
    assert list(list_frames(str(tmp_path / "frames"))) == ["1", "2", "3"]


def test_notes_on_root_itself_name_it(tmp_path):
    for number in (1, 2, 10):
        image(tmp_path / f"{number}.jpg")
    assert find_videos(str(tmp_path)).assumed == [(video_tree.NATURAL, str(tmp_path))]


def test_folders_of_gif_frames_are_said(tmp_path):
    for folder in ("frames", "clips"):
        (tmp_path / folder).mkdir()
    for number in range(3):
        Image.new("RGB", (20, 10)).save(tmp_path / f"frames/{number}.gif")
        images = [Image.new("RGB", (20, 10), (shade, 0, 0)) for shade in (0, 90, 200)]
        images[0].save(tmp_path / f"clips/{number}.gif", save_all=True, append_images=images[1:])
    tree = find_videos(str(tmp_path))
    assert len(tree.files) == 6
    assert tree.assumed == [(video_tree.ONE_PICTURE_GIFS, f"frames/{number}.gif") for number in range(3)]


def test_an_animation_among_frames_is_a_problem(tmp_path):
    """The reader refuses the folder, so the import may not make two videos of it."""
    stills = [Image.new("RGB", (8, 6), (value, 0, 0)) for value in (1, 90, 200)]
    for folder in ("frames", "clips"):
        (tmp_path / folder).mkdir()
        stills[0].save(tmp_path / folder / "0003.png", save_all=True, append_images=stills[1:])
        stills[0].save(tmp_path / folder / "0004.webp", save_all=True, append_images=stills[1:], lossless=True)
    for name in ("0001.png", "0002.png"):
        stills[0].save(tmp_path / "frames" / name)
    tree = find_videos(str(tmp_path))
    assert tree.problems == [f"frames/{name} {IS_AMONG_FRAMES}" for name in ("0003.png", "0004.webp")]
    (tmp_path / "frames").rename(tmp_path.parent / "gone")
    tree = find_videos(str(tmp_path))
    assert (tree.files, tree.folders, tree.problems) == (["clips/0003.png", "clips/0004.webp"], [], [])
