"""Give the videos of a data set of `rvos synth` another look, that of a camera in fog at dusk: low contrast, a blue
cast that is stronger at the top, noise, and stronger compression. Manifest and annotations stay as they are.

python benchmarks/fog.py DATA NEW_FOLDER
"""

import argparse
import shutil
from pathlib import Path

import av
import numpy as np

FOG = np.array([92.0, 104.0, 138.0])  # R, G, B
SHARE = (0.72, 0.5)  # of fog, in the top and the bottom row
NOISE = 10.0  # standard deviation, of 255
CRF = "27"


def foggy(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return `pixels`, uint8 [H, W, 3], in fog."""
    share = np.interp(np.arange(len(pixels)), [0, len(pixels) - 1], SHARE)[:, None, None]
    mixed = pixels * (1 - share) + FOG * share + rng.normal(0, NOISE, pixels.shape)
    return np.clip(mixed, 0, 255).astype(np.uint8)


def write_foggy(source: Path, target: Path, rng: np.random.Generator) -> None:
    """Write the video `source` in fog to `target`, with as many frames."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        output = new.add_stream("h264", rate=stream.average_rate, options={"crf": CRF})
        output.width, output.height, output.pix_fmt = stream.width, stream.height, "yuv420p"
        for frame in old.decode(stream):
            new.mux(output.encode(av.VideoFrame.from_ndarray(foggy(frame.to_ndarray(format="rgb24"), rng), "rgb24")))
        new.mux(output.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    (options.out / "videos").mkdir(parents=True)
    for number, video in enumerate(sorted((options.data / "videos").iterdir())):
        write_foggy(video, options.out / "videos" / video.name, np.random.default_rng(number))
    for name in ("manifest.parquet", "annotations.parquet"):
        shutil.copy(options.data / name, options.out / name)


if __name__ == "__main__":
    main()
