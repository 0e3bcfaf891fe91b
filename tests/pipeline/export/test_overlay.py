"""Overlay videos: playable, with the mask drawn, identical bytes."""

import itertools
from fractions import Fraction

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageSequence

from pipeline.export.overlay import write_overlays
from pipeline.io import storage
from pipeline.masks.by_video import MaskSource
from pipeline.video import Selection, read_frames
from schemas import rle
from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from tests.handmade import rows_of


@pytest.mark.parametrize("form", ["mp4", "gif"])
def test_each_pair_is_a_video_with_its_mask(labelled_run, tmp_path, form):
    source = MaskSource.open(labelled_run.folder)
    drawn = write_overlays(source, str(tmp_path), form=form, fps=8, limit=4)
    assert drawn.counts == {"videos": 2, "pairs": 4, "frames": 48, "sheets": 2, "failed": 0, "unseen": 0}
    assert sorted(path.name for path in (tmp_path / "shapes-0000").iterdir()) == [
        *(f"{expression}.{form}" for expression in range(3)),
        "sheet.png",
    ]
    with av.open(str(tmp_path / f"shapes-0000/1.{form}")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert float(container.streams.video[0].average_rate or 0) == pytest.approx(8, rel=0.05)
    assert (len(frames), frames[0].shape) == (12, (96, 128, 3))
    pair = next(source.videos())[1]
    plain = next(read_frames(pair.row["video_uri"], Selection(indices=(5,)))).image.astype(int)
    mask = pair.mask(pair.rows()[5])
    change = np.abs(frames[5].astype(int) - plain).mean(-1)
    grown = mask
    for axis, step in itertools.product((0, 1), (-4, -2, 2, 4)):
        grown = grown | np.roll(mask, step, axis)
    assert change[grown & ~mask].mean() > 4 * change[~grown].mean()
    sheet = Image.open(tmp_path / "shapes-0000/sheet.png")
    assert sheet.width > 6 * 128
    first = (tmp_path / f"shapes-0000/1.{form}").read_bytes()
    write_overlays(source, str(tmp_path), form=form, fps=8, limit=4)
    assert (tmp_path / f"shapes-0000/1.{form}").read_bytes() == first


def test_a_mask_that_appears_late_keeps_its_colour_in_a_gif(tmp_path):
    """A gray video, whose first frames have no other colours."""
    rows = rows_of("v", "0", 4).to_pylist()
    mask = np.zeros((40, 60), bool)
    mask[10:20, 30:50] = True
    for row in rows:
        row |= {"height": 40, "width": 60, "counts": rle.encode((mask & (row["frame_index"] > 1))[None])[0]}
        (tmp_path / "v").mkdir(exist_ok=True)
        image = np.repeat(np.arange(60, dtype=np.uint8)[None] + row["frame_index"], 40, 0)
        Image.fromarray(image).save(tmp_path / f"v/{row['frame_index']:05}.png")
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTIONS), tmp_path / "p.parquet")
    asked = {"video_id": "v", "video_uri": "v", "expression_id": "0", "expression": "x"}
    pq.write_table(pa.Table.from_pylist([asked]), tmp_path / "m.parquet")
    source = MaskSource.open(str(tmp_path / "p.parquet"), str(tmp_path / "m.parquet"))
    write_overlays(source, str(tmp_path / "out"), form="gif")
    with Image.open(tmp_path / "out/v/0.gif") as image:
        shown = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(image)]
    around = np.zeros_like(mask)
    around[8:22, 28:52] = True
    saturation = [np.ptp(frame[around & ~mask], axis=-1).mean() for frame in shown]
    assert saturation == pytest.approx([0, 0, 255, 255], abs=32)
    assert all(np.ptp(frame[mask], axis=-1).mean() < 4 for frame in shown)
    assert [frame.shape for frame in shown] == [(40, 60, 3)] * 4


@pytest.mark.parametrize("form", ["mp4", "gif"])
def test_each_frame_of_a_video_of_variable_rate_is_shown_as_long(tmp_path, form):
    """The rate that Matroska states is nominal. Odd sides lose nothing."""
    times, mask = [0, 40, 80, 1000, 1040, 4000], np.zeros((63, 97), bool)
    mask[50:, 80:] = True
    with av.open(str(tmp_path / "v.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 63, 97, "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time in times:
            image = av.VideoFrame.from_ndarray(np.full((63, 97, 3), 200, np.uint8), format="rgb24").reformat(
                format="bgr0"
            )
            image.pts, image.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    rows = rows_of("v", "0", len(times)).to_pylist()
    rows = [row | {"height": 63, "width": 97, "counts": rle.encode(mask[None])[0]} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTIONS), tmp_path / "p.parquet")
    asked = {"video_id": "v", "video_uri": "v.mkv", "expression_id": "0", "expression": "x"}
    pq.write_table(pa.Table.from_pylist([asked]), tmp_path / "m.parquet")
    source = MaskSource.open(str(tmp_path / "p.parquet"), str(tmp_path / "m.parquet"))
    for fps, expected in ((None, times), (10, [0, 100, 200, 300, 400, 500])):
        write_overlays(source, str(tmp_path / "out"), form=form, fps=fps)
        with av.open(str(tmp_path / f"out/v/0.{form}")) as container:
            shown = list(container.decode(video=0))
        assert [frame.time * 1000 for frame in shown] == pytest.approx(expected, abs=1)
    image = shown[0].to_ndarray(format="rgb24").astype(int)
    assert image.shape == ((64, 98, 3) if form == "mp4" else (63, 97, 3))
    assert (np.ptp(image[58, 84:92], axis=-1) < 30).all()
    assert (np.ptp(image[50:62, 96], axis=-1) > 60).all()  # the line at the side of the frame


def test_large_videos_are_scaled_and_odd_sides_made_even(labelled_run, tmp_path):
    write_overlays(MaskSource.open(labelled_run.folder), str(tmp_path), max_size=65, limit=1)
    with av.open(str(tmp_path / "shapes-0000/0.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height) == (64, 48)


def test_unreadable_videos_are_left_out_and_named(run_with_failure, shapes, tmp_path):
    rows = pq.read_table(shapes[0]).to_pylist()
    for row in rows:
        row["video_uri"] = storage.absolute(row["video_uri"], storage.parent(shapes[0]))
        if row["video_id"] == "shapes-0001":
            row["video_uri"] += ".gone"
    pq.write_table(pq.read_table(shapes[0]).from_pylist(rows), tmp_path / "m.parquet")
    source = MaskSource.open(run_with_failure.folder, str(tmp_path / "m.parquet"))
    drawn = write_overlays(source, str(tmp_path / "out"), max_size=64)
    assert [drawn.counts[name] for name in ("pairs", "failed", "unseen")] == [5, 1, 3]
    assert drawn.notes[0].startswith("video_id=shapes-0001 expression_id=0: ")
    assert not (tmp_path / "out/shapes-0001").exists()


def test_masks_of_another_video_are_refused(labelled_run, shapes, tmp_path):
    rows = pq.read_table(shapes[0]).slice(0, 1).to_pylist()
    for index in range(12):
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.new("RGB", (30, 20)).save(tmp_path / f"frames/{index:05}.jpg")
    rows[0]["video_uri"] = str(tmp_path / "frames")
    pq.write_table(pq.read_table(shapes[0]).from_pylist(rows), tmp_path / "m.parquet")
    source = MaskSource.open(labelled_run.folder, str(tmp_path / "m.parquet"))
    with pytest.raises(InputError, match="frame 00000: the mask is 128x96, the video 30x20"):
        write_overlays(source, str(tmp_path / "out"))
