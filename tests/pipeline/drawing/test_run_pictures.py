"""Picture and film of a run: every frame is drawn, one by one, at the rate of the clip."""

import itertools

import av
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.drawing import run_pictures
from pipeline.drawing.overlay import contact_sheet
from pipeline.drawing.run_pictures import draw_run
from pipeline.drawing.write_video import write_mp4
from pipeline.runs.plan import PlanOptions
from pipeline.runs.run import Run
from tests import handmade


@pytest.fixture
def make_run(tmp_path):
    """Make a run of 2x2 masks about videos of so many 2x2 frames at a rate."""

    def make(expressions: int, frames: int, rate: float, sentences=None) -> str:
        video = str(tmp_path / "v.mp4")
        write_mp4(video, itertools.repeat(np.zeros((2, 2, 3), np.uint8), frames), rate)
        rows = handmade.manifest([("v", str(number)) for number in range(expressions)]).to_pylist()
        for row, sentence in zip(rows, sentences or (), strict=sentences is not None):
            row["expression"] = sentence
        manifest = pa.Table.from_pylist([row | {"video_uri": video, "num_frames": frames} for row in rows])
        run = Run.start(str(tmp_path / "run"), "f", {}, {})
        run.extend_plan(manifest, "m", PlanOptions(unit_frames=1000))
        (unit,) = run.units()
        handmade.write(run, unit.unit_id, [handmade.rows_of("v", str(number), frames) for number in range(expressions)])
        return run.folder

    return make


@pytest.mark.parametrize("rate", [0.5, 240])
def test_the_film_has_every_frame_at_the_rate_of_the_clip(make_run, tmp_path, rate):
    picture, film, shown = str(tmp_path / "p.png"), str(tmp_path / "f.mp4"), []
    assert draw_run(make_run(2, 310, rate), None, picture, film, lambda *numbers: shown.append(numbers))
    with av.open(film) as container:
        assert (container.streams.video[0].frames, container.streams.video[0].average_rate) == (620, rate)
    assert shown == [(number, 620) for number in range(620)]
    assert Image.open(picture).width > 5 * 240


@pytest.mark.parametrize(
    ("sentences", "captions"),
    [
        (["a cat", "a dog"], ["v: a cat", "v: a dog"]),
        (["a cat", "a dog", "a cat"], ["v 0: a cat", "v: a dog", "v 2: a cat"]),
        (["", ""], ["v 0", "v 1"]),
    ],
)
def test_captions_tell_the_same_sentence_apart(make_run, tmp_path, monkeypatch, sentences, captions):
    drawn = []
    monkeypatch.setattr(run_pictures, "contact_sheet", lambda rows: drawn.append(rows) or contact_sheet(rows))
    run = make_run(len(sentences), 2, 10, sentences)
    assert draw_run(run, None, str(tmp_path / "p.png"), str(tmp_path / "f.mp4"))
    assert [caption for caption, _ in drawn[-1]] == captions
    assert list(dict.fromkeys(rows[0][0] for rows in drawn[:-1])) == captions


def test_frames_are_not_held(make_run, tmp_path, monkeypatch):
    """A film of many large frames does not fit in memory."""
    living, most = [0], [0]

    class Counted(np.ndarray):
        def __del__(self):
            living[0] -= 1

    def overlay(image, *masks):
        living[0] += 1
        most[0] = max(most[0], living[0])
        return np.array(image).view(Counted)

    monkeypatch.setattr(run_pictures, "overlay", overlay)
    monkeypatch.setattr(run_pictures, "MIN_HEIGHT", 2)
    assert draw_run(make_run(2, 40, 10), None, str(tmp_path / "p.png"), str(tmp_path / "f.mp4"))
    assert most[0] < 40
