"""Files of tiny parts without number: each form ends, whatever the size of the file."""

import io

import pytest

from pipeline.video import file_end, file_parts, transport_stream
from pipeline.video.transport_stream import PacketCounter

MOST = 1000
FORMS = {
    "matroska": (b"\x1aE\xdf\xa3\x80", b"\xec\x80"),
    "live matroska": (b"\x1aE\xdf\xa3\x80", b"\x1fC\xb6u\xff"),
    "flv": (b"FLV\1\5\0\0\0\x09\0\0\0\0", b"\x08\0\0\0" + bytes(7) + b"\0\0\0\x0b"),
    "avi": (b"RIFF\xff\xff\xff\xffAVI ", b"JUNK\0\0\0\0"),
    "lists of avi": (b"RIFF\xff\xff\xff\xffAVI ", b"LIST\0\0\0\0movi"),
    "mp4": (b"\0\0\0\x08ftyp", b"\0\0\0\x08free"),
    "fragments of mp4": (b"\0\0\0\x08ftyp", b"\0\0\0\x08moof"),
    "mxf": (b"\x06\x0e+4\x02\x05\x01\x01\r\x01\x02\x01\x01\x02\0\0\0", b"\x06\x0e+4" + bytes(12) + b"\0"),
    "mpeg-ps": (b"\0\0\x01\xba\x40" + bytes(9), b"\0\0\x01\xb9"),
    "gif": (b"GIF89a" + bytes(7), b"\x21\xf9\0"),
    "ivf": (b"DKIF" + bytes(28), b"\1\0\0\0" + bytes(8) + b"x"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_tiny_parts_without_number_is_given_up(form, monkeypatch):
    monkeypatch.setattr(file_parts, "MAX_PARTS", MOST)
    head, part = FORMS[form]
    assert file_parts.damage(io.BytesIO(head + part * (MOST // 2 - 2))) is None
    told = f"it has more than {MOST} parts"
    assert file_parts.damage(io.BytesIO(head + part * (2 * MOST))) == told
    if form in ("mp4", "gif"):
        assert file_end.cut_off(io.BytesIO(head + part * (2 * MOST))) == told


def test_a_transport_stream_that_breaks_all_the_time_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(transport_stream, "MAX_BREAKS", 50)
    packets = [b"G\x01\x00" + bytes([0x10 + number % 16]) + bytes(184) for number in range(5000)]
    for count, most in ((40, 40), (1000, 52)):
        (tmp_path / "v.ts").write_bytes(b"".join(b"x" * (n % 5 == 0) + packets[n] for n in range(5 * count)))
        with PacketCounter(str(tmp_path / "v.ts"), 256) as counter:
            breaks = counter.breaks_until(None)
        assert len(breaks) <= most
        assert any(one.within_frame for one in breaks) == (count > 50)
