"""Find frames that a damaged file lost although FFmpeg decodes the rest without an error.

FFmpeg marks packets that are not complete, for example where a transport stream lost some of its parts; and a decoder
may show nothing for packets whose references are lost. Neither is damage by itself: two streams in one file are marked
where they meet, and streams may begin before their first key frame. Frames are lost if the times of those around have
a gap as well. Videos of a variable rate have gaps of their own.
"""

from collections import Counter
from fractions import Fraction

import av

from pipeline.video.transport_stream import PacketCounter
from schemas.printable import counted

# Their packets become one frame each. Others have packets that show nothing: hidden references, repeated pictures.
ONE_FRAME_EACH = {"h264", "hevc", "mpeg1video", "mpeg2video", "mjpeg", "vp9", "av1", "prores", "dnxhd", "theora"}
GAP = 1.5  # times the usual distance between frames
TOLERANCE = 0.1  # of distances at a constant rate: times are rounded to ticks
CONSTANT = 0.9  # share of the distances that are the usual one
ENOUGH = 8  # distances to know the usual one


class LostFrames:
    """Compares the times of packets with those of the frames that are shown. Times are in ticks of the stream.

    `packets` counts those of a transport stream. AVI, ASF and MXF have times of decoding only, which always ascend.
    """

    def __init__(self, stream: av.VideoStream, packets: PacketCounter | None = None):
        codec = stream.codec_context
        self._one_each = codec is not None and codec.name.removeprefix("lib") in ONE_FRAME_EACH
        self._reorders = codec is not None and codec.has_b_frames
        self._latest: int | None = None  # time of the latest packet
        rate, tick = stream.guessed_rate, stream.time_base
        self._nominal = 1 / (rate * tick) if rate and tick else None
        self._packets = packets
        self._distances: Counter[int] = Counter()
        self._waiting: set[int] = set()  # times of packets later than the last frame
        self._marked = False  # whether a packet was marked since the last jump of the times
        self._damaged = False
        self._last: int | None = None
        self._frames = 0

    def see_packet(self, packet: av.Packet) -> None:
        """Note a packet that is given to the decoder."""
        if not packet.size or packet.is_discard:
            return
        self._marked |= packet.is_corrupt
        if self._packets is not None and packet.pos is not None:
            breaks = self._packets.breaks_until(packet.pos)
            self._marked |= bool(breaks)
            self._damaged |= any(one.within_frame for one in breaks)
        if packet.pts is not None and (self._last is None or packet.pts > self._last):
            self._waiting.add(packet.pts)
        if packet.pts is not None:
            self._reorders &= self._latest is None or packet.pts > self._latest
            self._latest = packet.pts

    def before_frame(self, time: int | None) -> str | None:
        """Return what was lost before the frame with this time, None if nothing was."""
        if self._damaged:
            return "a frame is not complete"
        last = self._last
        if time is None and last is not None and (usual := self._usual()):
            time = last + int(usual)
        self._last = time
        self._frames += 1
        if time is None or last is None or time <= last:  # nothing to compare with, or another stream begins
            earlier = {one for one in self._waiting if time is not None and one < time}
            self._drop_waiting(time, first=last is None)
            if last is None and self._marked and earlier:
                return "the frames before the first one are lost"
            self._marked &= last is None
            return None
        distance = time - last
        is_known = self._one_each and not self._reorders
        skipped = sum(last < one < time for one in self._waiting) if is_known else 0
        self._drop_waiting(time)
        lost = skipped > 1 or ((self._marked or skipped) and self._is_gap(distance))
        self._distances[distance] += 1
        return f"frames before frame {self._frames - 1} are lost" if lost else None

    def _drop_waiting(self, time: int | None, first: bool = False) -> None:
        """Drop the packet of a frame that is shown and, unless its time is that of its decoding, those before it."""
        if self._reorders and not first:
            self._waiting.discard(time)
        else:
            self._waiting = {one for one in self._waiting if time is not None and one > time}

    def at_end(self) -> str | None:
        """Return what was lost after the last frame, or somewhere in a video of variable rate."""
        if self._reorders and self._one_each and self._waiting:
            return f"{counted(len(self._waiting), 'frame')} cannot be decoded"
        after = [one - self._last for one in self._waiting] if self._last is not None and self._one_each else []
        if len(after) > 1 or any(self._is_gap(2 * distance) for distance in after):  # one may be the second field
            return "the frames after them cannot be decoded"
        if self._damaged or (self._packets is not None and self._packets.breaks_until(None)):
            return "the last of them is not complete"
        if self._marked and self._usual() is None:
            return "some packets are not complete, and their rate is too variable to tell which frames are lost"
        return None

    def _usual(self) -> Fraction | int | None:
        """Return the distance between frames, None if it is not constant."""
        count = self._distances.total()
        if count < ENOUGH:
            return self._nominal
        middle = sorted(self._distances.elements())[count // 2]
        near = sum(n for distance, n in self._distances.items() if abs(distance - middle) <= 1 + TOLERANCE * middle)
        return middle if near + 1 >= CONSTANT * count else None  # 1: the gap that is looked for

    def _is_gap(self, distance: int) -> bool:
        usual = self._usual()
        return usual is not None and distance >= GAP * usual
