import numpy as np
import pytest
from PIL import Image

from pipeline.io import storage
from pipeline.video import Selection, probe, read_frames
from schemas.errors import MediaError

PICTURE = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)


@pytest.fixture
def image(tmp_path) -> str:
    path = tmp_path / "COCO_000.v2.PNG"
    Image.fromarray(PICTURE).save(path)
    return str(path)


def test_an_image_is_a_video_of_one_frame(image):
    header = probe(image)
    assert (header.num_frames, header.height, header.width, header.names) == (1, 6, 8, ("COCO_000.v2",))
    for selection in (Selection(), Selection(step=5), Selection(indices=(0,)), Selection(names=("COCO_000.v2",))):
        (frame,) = read_frames(image, selection)
        assert (frame.index, frame.name) == (0, "COCO_000.v2")
        assert np.array_equal(frame.image, PICTURE)


@pytest.mark.s3
def test_in_a_bucket(image, s3, tmp_path):
    uri = f"{s3}/{tmp_path.name}/a.png"
    with open(image, "rb") as file:
        storage.write_bytes(uri, file.read())
    (frame,) = read_frames(uri, Selection())
    assert np.array_equal(frame.image, PICTURE)
    assert probe(uri).names == ("a",)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff\xd8\xff\xe0"])
def test_what_is_no_image_is_told(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for attempt in (lambda: probe(str(path)), lambda: list(read_frames(str(path), Selection()))):
        with pytest.raises(MediaError) as caught:
            attempt()
        assert caught.value.status == "corrupt"


def test_frames_that_it_has_not(image):
    with pytest.raises(MediaError) as caught:
        list(read_frames(image, Selection(indices=(1,))))
    assert caught.value.status in ("missing", "bad_row")
    with pytest.raises(MediaError, match="does not exist"):
        probe(image + ".jpg")


def test_a_folder_with_such_a_name_stays_a_folder(tmp_path):
    folder = tmp_path / "clip.jpg"
    folder.mkdir()
    for name in ("a", "b"):
        Image.fromarray(PICTURE).save(folder / f"{name}.png")
    assert len(list(read_frames(str(folder), Selection()))) == 2
