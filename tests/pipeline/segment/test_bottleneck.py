import pytest

from pipeline.segment.bottleneck import find_bottleneck

QUIET = {"decode": 10.0, "model": 90.0, "encode": 5.0, "write": 5.0, "waiting": 0.0, "blocked": 0.0}


@pytest.mark.parametrize(
    ("seconds", "gpus", "by", "text"),
    [
        ({}, True, "model", "the model, 90% of the actors' time; more or faster GPUs would help"),
        ({}, False, "model", "the model, 90% of the actors' time; more or faster CPUs would help"),
        (
            {"model": 60.0, "waiting": 40.0, "decode": 95.0},
            True,
            "waiting",
            "decoding: the model waited for frames 40% of the time; --gpus-per-actor 0.5 puts two actors on a GPU, "
            "each with its own threads",
        ),
        (
            {"model": 60.0, "waiting": 40.0},
            True,
            "waiting",
            "starting units: the model waited 40% of the time; larger units (--unit-frames) would help",
        ),
        (
            {"model": 50.0, "blocked": 50.0, "write": 60.0},
            False,
            "blocked",
            "writing: the model waited 50% of the time until its masks were taken; more actors (--actors) have more "
            "such threads",
        ),
        (
            {"model": 60.0},
            True,
            "idle",
            "too little work: actors were idle 40% of the time; use fewer actors (--actors) or smaller units "
            "(--unit-frames)",
        ),
    ],
)
def test_the_bottleneck_is_one_sentence(seconds, gpus, by, text):
    found = find_bottleneck(QUIET | seconds, wall_seconds=50.0, actors=2, gpus=gpus)
    assert (found.by, found.text) == (by, text)
    assert sum(found.shares.values()) == pytest.approx(1)
