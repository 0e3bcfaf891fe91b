"""Tell whether the last picture of a stream is cut off, for decoders that show such a picture without an error.

A decoder stops at the end of a picture. In one that is cut off it reads on, so that bytes after it change its pixels.
The packets from the last key frame on are kept in memory; where they are too many, nothing is told.
"""

import hashlib
from collections.abc import Iterable

import av
from av.error import FFmpegError

from pipeline.video.memory import is_short_of_memory

CONCEALED = {"h264", "hevc", "vvc"}
MAX_BYTES = 2**28  # of packets that are kept
_JUNK = b"\x5a\xc3\x96\xe7" * 64  # no start code, whose first bytes are zeros


def is_cut_off(container: av.container.InputContainer, stream: av.VideoStream) -> bool:
    """Return True if the last picture of a newly opened file is cut off. Reads all of it, and decodes its end twice."""
    packets, size = list[bytes](), 0  # from the last key frame on
    for packet in container.demux(stream):
        if packet.is_keyframe:
            packets, size = [], 0
        size += packet.size
        if packet.size and size <= MAX_BYTES:
            packets.append(bytes(packet))
    if not packets or size > MAX_BYTES:
        return False
    codec = stream.codec_context
    return _pictures(codec, packets) != _pictures(codec, [*packets[:-1], packets[-1] + _JUNK])


def _pictures(codec: av.VideoCodecContext, packets: Iterable[bytes]) -> str:
    """Return a digest of all pictures that packets show."""
    decoder = av.CodecContext.create(codec.name, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.extradata, decoder.thread_count = codec.extradata, 1
    digest = hashlib.sha256()
    for packet in (*map(av.Packet, packets), None):  # None: the pictures that are still in the decoder
        try:
            for frame in decoder.decode(packet):
                digest.update(frame.to_ndarray(format="rgb24").tobytes())
        except FFmpegError as error:
            if is_short_of_memory(error):
                raise
    return digest.hexdigest()
