"""What is read must be what was asked."""

import errno
import os
import subprocess
import sys
import unicodedata

import av
import numpy as np
import pytest

from pipeline.video import Selection, probe, read_frames
from schemas.errors import InputError, MediaError, StorageError

ALL = Selection()
REAL = {  # file: frames, displayed height and width, count in the header
    "blackswan.mp4": (50, 480, 854, 50),
    "nasa_13013.mp4": (390, 270, 480, 390),
    "h265_video.mp4": (10, 128, 128, 10),
    "av1_video.mkv": (125, 360, 640, None),
    "bear-vp9-odd-dimensions.webm": (30, 121, 161, None),
    "video_90.mov": (3, 568, 320, 3),
    "test-sample2.mp4": (149, 320, 568, 149),
}


def read(uri, selection=ALL, **options):
    return list(read_frames(str(uri), selection, **options))


def error_of(uri, selection=ALL, **options) -> MediaError:
    with pytest.raises(MediaError) as caught:
        read(uri, selection, **options)
    return caught.value


def test_a_link_to_nothing_names_its_target(tmp_path):
    clip = tmp_path / "clip.mp4"
    clip.symlink_to("/mnt/gone/clip.mp4")
    error = error_of(clip)
    assert error.status == "missing"
    assert "It is a link to /mnt/gone/clip.mp4, which does not exist" in str(error)
    assert "git" not in str(error)
    clip.unlink()
    clip.symlink_to(".git/annex/objects/Zk/9q/SHA256E-s1--5ec1e7.mp4/SHA256E-s1--5ec1e7.mp4")
    assert "as git-annex keeps files that were not fetched: 'git annex get'" in str(error_of(clip))


@pytest.mark.parametrize("name", REAL)
def test_real_files_read_completely(shared, name):
    count, height, width, promised = REAL[name]
    path = shared / "data/real/videos" / name
    frames = read(path)
    assert [frame.index for frame in frames] == list(range(count))
    assert {frame.image.shape for frame in frames} == {(height, width, 3)}
    header = probe(str(path))
    assert (header.num_frames, header.height, header.width, header.names) == (promised, height, width, None)


def test_real_corrupted_file_is_a_short_read(shared):
    path = shared / "data/real/videos/corrupted.mp4"
    error = error_of(path)
    assert error.status == "short_read"
    assert "28 of 50 frames" in str(error)
    assert "--allow-short" in str(error)
    assert len(read(path, allow_short=True)) == 28
    assert "28 of 50 frames" in str(error_of(path, Selection(step=5)))
    assert [frame.index for frame in read(path, Selection(indices=(27, 3)))] == [3, 27]


def test_real_folder_and_file_name_their_frames_alike(shared):
    folder = shared / "data/real/JPEGImages/blackswan"
    names = [frame.name for frame in read(folder, Selection(step=7))]
    assert names == [frame.name for frame in read(shared / "data/real/videos/blackswan.mp4", Selection(step=7))]
    assert probe(str(folder)).names == tuple(f"{index:05d}" for index in range(50))


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize(
    "selection",
    [
        ALL,
        Selection(step=5),
        Selection(indices=(11, 0, 7, 7)),
        Selection(names=("3", "00010")),
    ],
)
def test_selection_equals_the_full_decode(make_video, decode_all, decoder, selection):
    path = make_video("clip.mp4")
    full = decode_all(path)
    frames = read(path, selection, decoder=decoder)
    chosen = {int(name) for name in selection.names or ()} or set(selection.indices or range(0, 12, selection.step))
    assert [frame.index for frame in frames] == sorted(chosen)
    for frame in frames:
        assert frame.name == f"{frame.index:05d}"
        np.testing.assert_array_equal(frame.image, full[frame.index])


def test_cut_off_end_matters_only_to_those_who_want_it(make_video):
    path = make_video("clip.mp4", 24, options={"crf": "1", "bf": "0"}, container_options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    decoded = len(read(path, allow_short=True))
    assert 5 < decoded < 20
    assert f"decoded {decoded} of 24 frames" in str(error_of(path))
    assert len(read(path, Selection(indices=(0, decoded - 1)))) == 2
    error = error_of(path, Selection(indices=(0, decoded)))
    assert error.status == "short_read"
    assert len(read(path, Selection(indices=(0, decoded)), allow_short=True)) == 1
    assert error_of(path, Selection(indices=(decoded,)), allow_short=True).status == "short_read"


def test_not_a_video(tmp_path, make_video):
    empty, text, note = tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "note.txt"
    empty.touch()
    for path in (text, note):
        path.write_text("no video here\n" * 50)
    assert error_of(empty).status == error_of(text).status == error_of(note).status == "corrupt"
    assert "empty file" in str(error_of(empty))
    missing = error_of(tmp_path / "gone.mp4")
    assert missing.status == "missing"
    assert "gone.mp4 does not exist" in str(missing)
    assert error_of("nope://bucket/clip.mp4").status == "bad_row"
    headless = make_video("clip.mp4")
    headless.write_bytes(headless.read_bytes()[:-800])
    assert error_of(headless).status == "corrupt"


def test_frames_outside_the_source(make_video, make_folder):
    video = make_video("clip.mp4")
    folder = make_folder("frames", {"00000.png": np.zeros((4, 4, 3), np.uint8)})
    for uri in (video, folder):
        for index in (99, -1):
            error = error_of(uri, Selection(indices=(0, index)))
            assert (error.status, error.frame) == ("bad_row", index)
        assert error_of(uri, Selection(indices=())).status == "bad_row"
    error = error_of(folder, Selection(names=("00000", "00005")))
    assert (error.status, error.frame) == ("missing", "00005")
    error = error_of(video, Selection(names=("first",)))
    assert (error.status, error.frame) == ("bad_row", "first")
    open_ended = make_video("clip.mkv")
    error = error_of(open_ended, Selection(indices=(0, 99)))
    assert error.status == "short_read"
    assert "decoded 12 frames, but frame 99 is requested" in str(error)


def test_remote_sources(make_video, make_folder, decode_all):
    import fsspec

    memory = fsspec.filesystem("memory")
    video = make_video("clip.mp4")
    memory.pipe("/reading/clip.mp4", video.read_bytes())
    frames = read("memory://reading/clip.mp4", Selection(indices=(3,)))
    np.testing.assert_array_equal(frames[0].image, decode_all(video)[3])
    assert probe("memory://reading/clip.mp4") == probe(str(video))
    pixels = {f"{i:05d}.png": np.full((6, 8, 3), i, np.uint8) for i in range(40)}
    for file in make_folder("frames", pixels).iterdir():
        memory.pipe(f"/reading/frames/{file.name}", file.read_bytes())
    frames = read("memory://reading/frames", Selection(step=3))
    assert [int(frame.image[0, 0, 0]) for frame in frames] == list(range(0, 40, 3))
    assert probe("memory://reading/frames").num_frames == 40
    assert error_of("memory://reading/gone.mp4").status == "missing"
    assert error_of("memory://reading/gone").status == "missing"


def test_reading_streams(make_video):
    frames = read_frames(str(make_video("clip.mp4")), ALL)
    assert next(frames).index == 0
    frames.close()


def test_unknown_decoder():
    with pytest.raises(InputError, match="pyav, decord"):
        read("clip.mp4", decoder="opencv")


def test_decord_is_imported_only_when_chosen():
    code = "import sys, pipeline.video; sys.exit('decord' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_name_in_another_unicode_form_is_told(tmp_path, make_video):
    make_video("clip.mp4").rename(tmp_path / unicodedata.normalize("NFD", "Müller é.mp4"))
    error = error_of(tmp_path / unicodedata.normalize("NFC", "Müller é.mp4"))
    assert error.status == "missing"
    assert "looks the same, but is in the Unicode form NFD" in str(error)
    assert "looks the same" not in str(error_of(tmp_path / "other é.mp4"))


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_disk_that_fails_in_the_middle_of_a_file_is_no_damage(make_video, monkeypatch, number):
    video = make_video("clip.mp4")
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 3 // 4])

    def fail(*_):
        raise OSError(number, os.strerror(number))

    assert error_of(video).status in ("corrupt", "short_read")
    monkeypatch.setattr("pipeline.video.pyav_reader._require_readable", fail)
    with pytest.raises(StorageError, match="cannot read on host"):
        list(read_frames(str(video), Selection()))


@pytest.mark.parametrize("place", ["pipeline.video.colours.RgbConverter.convert", "pipeline.video.picture._rgb"])
def test_a_machine_without_memory_is_no_damage(make_video, make_folder, monkeypatch, place):
    folder = make_folder("frames", {"00000.png": np.zeros((4, 4, 3), np.uint8)})
    video = make_video("clip.mp4") if "colours" in place else folder

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(place, fail)
    assert error_of(video).status == "corrupt"  # memory is left: the file asked for too much
    monkeypatch.setattr("pipeline.video.memory.MOST", 2**62)
    with pytest.raises(StorageError, match="not enough memory"):
        list(read_frames(str(video), Selection()))


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("pipeline.video.colours.RgbConverter.convert", BlockingIOError(11, "Resource temporarily unavailable")),
        ("pipeline.video.pyav_reader.av.open", av.error.BlockingIOError(11, "Resource temporarily unavailable")),
        ("pipeline.video.picture.Image.open", MemoryError()),
        ("pipeline.video.picture._rgb", OSError("out of memory error when reading image file")),
    ],
)
def test_a_machine_without_threads_or_memory_is_no_damage(make_video, make_folder, monkeypatch, place, error):
    """FFmpeg and Pillow have errors of their own for what a limit such as 'ulimit -v' refuses."""
    is_video = "picture" not in place
    source = make_video("clip.mp4") if is_video else make_folder("frames", {"0.png": np.zeros((4, 4, 3), np.uint8)})

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(place, fail)
    monkeypatch.setattr("pipeline.video.memory.MOST", 2**62)
    with pytest.raises(StorageError, match=r"not enough memory or threads on host .*ulimit"):
        list(read_frames(str(source), Selection()))


@pytest.mark.parametrize("name", ["a.mp4 ", " a.mp4"])
def test_a_name_with_a_blank_at_its_end(tmp_path, name):
    """Lists are read without the blanks around their values; the message shows how to name such a file."""
    (tmp_path / name).write_bytes(b"x")
    text = str(error_of(tmp_path / "a.mp4"))
    uri = (tmp_path / name).as_uri()
    assert f"There is {name!r}" in text
    assert text.endswith(uri)
    assert error_of(uri).status == "corrupt"  # it is found


def test_a_path_with_the_separators_of_windows(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.mp4").write_bytes(b"x")
    text = str(error_of(f"{tmp_path}/clips\\a.mp4"))
    assert text.endswith(f"There is {tmp_path}/clips/a.mp4; write paths with /, not as on Windows")


@pytest.mark.parametrize("other", ["pipe", "device", "folder", "link to a key", "nothing"])
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_a_file_that_others_replace_while_it_is_read_is_read_to_its_end(make_video, tmp_path, decoder, other):
    """A decoder that opened a pipe by its name would wait for ever; Matroska is opened again at its end."""
    path = make_video("v.mkv")
    whole = [frame.image for frame in read_frames(str(path), Selection(), decoder=decoder)]
    frames = read_frames(str(path), Selection(), decoder=decoder)
    found = [next(frames).image]
    path.unlink()
    if other == "pipe":
        os.mkfifo(path)
    elif other == "folder":
        path.mkdir()
    elif other != "nothing":
        (tmp_path / "key").write_text("secret")
        path.symlink_to("/dev/zero" if other == "device" else tmp_path / "key")
    found += [frame.image for frame in frames]
    np.testing.assert_array_equal(found, whole)
