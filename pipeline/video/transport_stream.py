"""Find where an MPEG transport stream lost some of its packets (ISO/IEC 13818-1, 2.4.3).

FFmpeg looks too, but its mark gets lost where the packet that follows is cut in two. Each packet has the id of its
stream and a number that counts the packets of this stream from 0 to 15: a loss of 16 of each stream is not seen.
A frame begins with a packet of its own.
"""

import contextlib
import os
from typing import BinaryIO, NamedTuple

import numpy as np

SIZES = {188: 0, 192: 4, 204: 0}  # bytes of a packet: position of its sync byte 0x47
_SYNC = 0x47
_FIRMLY = 5  # packets in a row whose sync bytes show where packets begin
_BLOCK = 4096  # packets that are read at once; after a break _SHORT, then twice as many each time
_SHORT = 32
MAX_BREAKS = 2**15  # in a file; more are damage, wherever they are
_IDS = 0x2000
_EMPTY = 0x1FFF  # id of packets that only fill


class Break(NamedTuple):
    """Packets are missing at `place` of the file or, within a frame of the video, somewhere after this place."""

    place: int
    within_frame: bool


class PacketCounter(contextlib.AbstractContextManager["PacketCounter"]):
    """Reads a transport stream ahead of its decoder. `video` is the id of the stream that is decoded."""

    def __init__(self, path: str, video: int):
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115
        self._end = self._file.seek(0, os.SEEK_END)
        self._at = 0  # where the next packet begins, from its sync byte on
        self._size = 0  # bytes of a packet, 0 before the first one
        self._last = np.full(_IDS, -1, np.int16)  # number of the latest packet of each stream
        self._video = video
        self._frame = -1  # where the latest frame of the video begins
        self._is_last_filled = False  # whether the latest packet of the video ends with stuffing, as a frame does
        self._breaks: list[Break] = []
        self._breaks_so_far, self._block = 0, _BLOCK

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def breaks_until(self, position: int | None) -> list[Break]:
        """Return the breaks between the position of the last call and the frame that begins at this one. None: all."""
        position = self._end if position is None else position
        while self._at < self._end and self._frame <= position:
            self._read_block()
        found = [one for one in self._breaks if one.place <= position]
        self._breaks = [one for one in self._breaks if one.place > position]
        return found

    def ends_within_frame(self) -> bool:
        """Return True if the last packet of the video, once all are read, is one that a frame goes on after.

        A frame ends with stuffing, unless its length happens to fill its packets (one in 184).
        """
        return self._frame >= 0 and not self._is_last_filled

    def _read_block(self) -> None:
        self._file.seek(self._at)
        content = np.frombuffer(self._file.read(self._block * (self._size or max(SIZES))), np.uint8)
        self._block = min(2 * self._block, _BLOCK)
        if not self._size:
            self._at += self._find_packets(content)
            return
        count = len(content) // self._size
        if not count:  # a last packet without its end
            self._at = self._end
            return
        packets = content[: count * self._size].reshape(count, self._size)
        wrong = np.flatnonzero(packets[:, 0] != _SYNC)
        good = int(wrong[0]) if len(wrong) else count
        self._count(packets[:good])
        self._at += good * self._size
        if len(wrong):
            self._breaks.append(Break(self._at, within_frame=False))
            self._size, self._block = 0, _SHORT
            self._breaks_so_far += 1
            if self._breaks_so_far > MAX_BREAKS:
                self._breaks.append(Break(self._at, within_frame=True))
                self._at = self._end

    def _find_packets(self, content: np.ndarray) -> int:
        """Return where packets begin, and note their size; if there are none, where they may begin at the earliest."""
        is_sync = content == _SYNC
        for size in SIZES:
            starts = is_sync[: max(0, len(content) - (_FIRMLY - 1) * size)].copy()
            for number in range(1, _FIRMLY):
                starts &= is_sync[number * size :][: len(starts)]
            if starts.any():
                self._size = size
                return int(starts.argmax())
        is_end = self._at + len(content) >= self._end
        return len(content) if is_end else len(content) - (_FIRMLY - 1) * max(SIZES)

    def _count(self, packets: np.ndarray) -> None:
        """Note frames and breaks in packets, uint8 [N, size]."""
        ids = (packets[:, 1] & 0x1F).astype(int) << 8 | packets[:, 2]
        is_start = (ids == self._video) & (packets[:, 1] & 0x40 > 0)
        if (ids == self._video).any():
            self._is_last_filled = _has_stuffing(packets[np.flatnonzero(ids == self._video)[-1]])
        is_break = np.zeros(len(ids), bool)
        for stream in np.unique(ids[ids != _EMPTY]):
            rows = np.flatnonzero(ids == stream)
            is_break[rows] = self._is_after_loss(packets[rows], stream)
        for row in np.flatnonzero(is_start | is_break).tolist():
            place = self._at + row * self._size
            if is_start[row]:
                self._frame = place
            if is_break[row]:
                within = ids[row] == self._video and not is_start[row]
                self._breaks.append(Break(self._frame if within else place, bool(within)))

    def _is_after_loss(self, packets: np.ndarray, stream: int) -> np.ndarray:
        """Return which packets of a stream do not follow the one before, bool [N]."""
        flags, number = packets[:, 3] >> 4 & 3, (packets[:, 3] & 15).astype(np.int16)
        before = np.concatenate([self._last[stream : stream + 1], number[:-1]])
        self._last[stream] = number[-1]
        has_content, may_jump = flags & 1, (flags >= 2) & (packets[:, 4] > 0) & (packets[:, 5] >= 0x80)
        lost = (number != before + has_content & 15) & (before >= 0) & ~may_jump
        lost[1:] &= (packets[1:] != packets[:-1]).any(axis=1)  # a packet may be sent twice
        return lost


def _has_stuffing(packet: np.ndarray) -> bool:
    """Return True if the adaptation field of a packet, uint8 [size], is longer than what it says."""
    if not packet[3] & 0x20:
        return False
    length, flags = int(packet[4]), int(packet[5])
    if not length or flags & 3:  # private data, whose length is not looked up, may fill it
        return True
    return length > 1 + 6 * bool(flags & 0x10) + 6 * bool(flags & 8) + bool(flags & 4)
