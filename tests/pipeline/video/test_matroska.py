import io

import pytest

from pipeline.video import Selection, read_frames
from pipeline.video.matroska import missing_bytes
from schemas.errors import MediaError


def test_length_in_the_header(make_video):
    path = make_video("clip.mkv", 30, options={"crf": "1"})
    data = path.read_bytes()
    assert missing_bytes(io.BytesIO(path.read_bytes())) == 0
    path.write_bytes(data[:-1000])
    assert missing_bytes(io.BytesIO(path.read_bytes())) == 1000
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match="truncated") as caught:
        list(read_frames(str(path), Selection()))
    assert caught.value.status == "short_read"
    assert list(read_frames(str(path), Selection(), allow_short=True))


@pytest.mark.parametrize(
    "content", [b"", b"\x1aE", b"\x1aE\xdf\xa3", b"\x1aE\xdf\xa3\x81\0\x18S\x80g\xff", b"RIFF" * 9]
)
def test_what_does_not_say(content):
    assert missing_bytes(io.BytesIO(content)) == 0
