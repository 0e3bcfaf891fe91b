"""`rvos synth`: what it says, and what it refuses."""

import pytest

from jobs.synth import SynthConfig, run
from schemas.errors import InputError


def test_it_writes_a_data_set_and_no_second_one_over_it(tmp_path):
    config = SynthConfig(out=str(tmp_path / "data"), videos=6, frames="5", shapes="2:3", seed=3)
    result = run(config)
    assert result.pairs == sum(result.kinds.values()) >= 6
    assert result.manifest in result.text()
    with pytest.raises(InputError, match="is not empty"):
        run(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "dev"}, "unknown --split .dev.; choose from train, val, test"),
        ({"height": 65}, "--height must be an even number"),
        ({"height": 100_000, "width": 100_000}, "16 frames of 100000x100000 exceed the limit of"),
        ({"frames": "9:3"}, "--frames must be a number or a range"),
        ({"frames": "x"}, "--frames must be"),
        ({"shapes": "1"}, "--shapes must be"),
        ({"focus": "colour"}, "unknown --focus .colour.; choose from appearance, size"),
        ({"focus": "motion", "frames": "3:9"}, "--focus motion needs --frames of at least 4, got 3:9"),
    ],
)
def test_options_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        SynthConfig(out="x", **changes)
