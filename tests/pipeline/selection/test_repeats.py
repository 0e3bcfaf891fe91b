"""Same words are found whatever their dress, same videos whatever their size and compression, and nothing else is."""

import av
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageFilter

from pipeline.masks.by_video import PairMasks
from pipeline.selection import repeats as repeating
from pipeline.selection.repeats import SeenVideos, fingerprint, plain_words, repeats
from schemas.masks import PREDICTIONS

FRAMES = 20


def scene(seed: int) -> list[np.ndarray]:
    """A picture with soft blobs that the camera moves over."""
    noise = np.random.default_rng(seed).integers(0, 256, (160, 260, 3), np.uint8)
    blurred = np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(12))).astype(float)
    picture = np.clip((blurred - blurred.mean()) * 12 + 128, 0, 255).astype(np.uint8)
    return [picture[:120, 4 * n : 4 * n + 160] for n in range(FRAMES)]


def encode(path, frames: list[np.ndarray], crf: int = 23, scale: float = 1, brighter: int = 0) -> str:
    width, height = (int(side * scale) // 2 * 2 for side in (160, 120))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": str(crf), "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            image = np.asarray(Image.fromarray(frame).resize((width, height))).astype(int) + brighter
            shown = av.VideoFrame.from_ndarray(np.clip(image, 0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(shown))
        container.mux(stream.encode())
    return str(path)


def labelled(uri: str, indices=range(FRAMES)) -> list[PairMasks]:
    rows = [{"video_id": uri, "expression_id": "0", "frame_index": index} for index in indices]
    row = {"video_id": uri, "expression_id": "0", "video_uri": uri}
    return [PairMasks(row, pa.Table.from_pylist(rows, schema=PREDICTIONS))]


def test_the_same_words_again():
    texts = ["A dog", "a cat", " The  DOG! ", None, "an dog", "", "the", "...", "dog’s"]
    nothing = PREDICTIONS.empty_table()
    video = [PairMasks({"video_id": "v", "expression_id": "0", "expression": text}, nothing) for text in texts]
    assert repeats(video) == [0, 0, 1, None, 2, None, None, None, 0]


def test_the_order_of_words_counts():
    assert plain_words("The dog, left of the CAT.") == "dog left of cat"
    assert plain_words("the cat left of the dog") != plain_words("the dog left of the cat")
    assert plain_words("Ａ  ｄｏｇ") == "dog"


def test_copies_are_found_and_other_videos_are_not(tmp_path, monkeypatch):
    seen = SeenVideos()
    seen._prints = seen._prints[:2]  # so that it grows
    first = scene(0)
    assert seen.repeats(fingerprint(labelled(encode(tmp_path / "first.mp4", first)))) == 0
    assert seen.repeats(fingerprint(labelled(encode(tmp_path / "other.mp4", scene(1))))) == 0
    assert seen.repeats(fingerprint(labelled(encode(tmp_path / "small.mp4", first, crf=35, scale=0.5)))) == 1
    assert seen.repeats(fingerprint(labelled(encode(tmp_path / "bright.mp4", first, crf=30, brighter=20)))) == 2
    assert seen.repeats(fingerprint(labelled(encode(tmp_path / "back.mp4", first[::-1])))) == 0


def test_a_video_is_opened_once_and_few_of_its_frames_are_taken(tmp_path, monkeypatch):
    uri = encode(tmp_path / "v.mp4", scene(0))
    asked = []
    read = repeating.read_frames
    monkeypatch.setattr(
        repeating, "read_frames", lambda uri, selection: asked.append(selection) or read(uri, selection)
    )
    found = fingerprint([*labelled(uri, [3, 4]), *labelled(uri, [10, 17])])
    assert found is not None
    assert (found.shape, found.dtype) == ((8,), np.uint64)
    assert [selection.indices for selection in asked] == [(3, 5, 7, 9, 11, 13, 15, 17)]


@pytest.mark.parametrize("indices", [[5], [0, 1, 2]])
def test_short_videos_have_a_fingerprint_too(tmp_path, indices):
    found = fingerprint(labelled(encode(tmp_path / "v.mp4", scene(0)), indices))
    assert found is not None
    assert len(set(found.tolist())) <= len(indices)


def test_what_cannot_be_read_is_not_known(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    whole = encode(tmp_path / "v.mp4", scene(0))
    for video in (
        labelled(str(tmp_path / "gone.mp4")),
        labelled(str(tmp_path / "broken.mp4")),
        labelled(whole, range(30)),
        labelled(whole, []),
    ):
        assert fingerprint(video) is None
