"""Small generated videos whose frames tell their own number."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

MakeVideo = Callable[..., Path]


def picture(index: int, height: int = 80, width: int = 96) -> np.ndarray:
    """A smooth picture that differs clearly from its neighbours; the top left corner is white."""
    image = np.full((height, width, 3), (20 + 8 * index % 200, 120, 200 - 6 * index % 150), np.uint8)
    image[: height // 4, : width // 4] = 255
    return image


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """make_video(name, frames, rotation=..., still=..., options=...) -> path of a new H.264 file, 96x80."""

    def make(name: str, frames: int = 12, *, width=96, rotation=0, still=False, options=None, **container) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w", **container) as output:
            stream = output.add_stream("libx264", rate=10, options=options or {})
            stream.width, stream.height, stream.pix_fmt = width, 80, "yuv420p"
            if rotation:
                stream.set_display_rotation(rotation)
            for index in range(frames):
                image = picture(0 if still else index, 80, width)
                output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            output.mux(stream.encode())
        return path

    return make


@pytest.fixture
def remux(tmp_path: Path) -> Callable[[Path, str, int], Path]:
    """remux(source, name, cut): a copy whose first `cut` frames are cut away, in MP4 by an edit list."""

    def copy(source: Path, name: str, cut: int = 0) -> Path:
        path = tmp_path / name
        with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
            stream = reader.streams.video[0]
            twin = writer.add_stream_from_template(stream)
            ticks = round(cut / (stream.average_rate * stream.time_base))
            for packet in reader.demux(stream):
                if packet.dts is not None:
                    packet.pts, packet.dts, packet.stream = packet.pts - ticks, packet.dts - ticks, twin
                    writer.mux(packet)
        return path

    return copy


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """make_folder(name, {file name: uint8 array}) -> folder of images."""

    def make(name: str, files: dict[str, np.ndarray]) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file, pixels in files.items():
            Image.fromarray(pixels).save(folder / file)
        return folder

    return make


@pytest.fixture
def decode_all() -> Callable[[Path], list[np.ndarray]]:
    """Every frame of a file by one plain sequential decode, unrotated."""

    def decode(path: Path) -> list[np.ndarray]:
        with av.open(str(path), metadata_errors="ignore") as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams.best("video"))]

    return decode
