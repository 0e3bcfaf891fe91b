"""Count the sentences that say more than a model takes in."""

import pyarrow as pa
import pyarrow.compute as pc

from model.families import UNDERSTOOD_WORDS
from pipeline.runs.run import Run
from pipeline.runs.run_json import read_run_json


def sentence_note(family: str | None, expressions: pa.ChunkedArray) -> str | None:
    """Return a note on long sentences; None if there are none, or if the family reads them whole."""
    most = UNDERSTOOD_WORDS.get(family or "")
    if most is None or not len(expressions):
        return None
    long = pc.sum(pc.greater(pc.count_substring_regex(expressions, r"\S+"), most)).as_py() or 0
    if not long:
        return None
    return (
        f'SAM 3 finds things by short noun phrases ("brown dog"): {long} of {len(expressions)} sentences have more '
        f"than {most} words. It may mark every thing of that kind, whatever the rest of a sentence says"
    )


def note_of(the_run: Run) -> str | None:
    """Return the note on the planned sentences of a run."""
    family = read_run_json(the_run.folder).get("decides", {}).get("family")
    if family not in UNDERSTOOD_WORDS:
        return None
    texts = [the_run.read_part(part, ["expression"])["expression"] for part in the_run.parts()]
    return sentence_note(family, pa.chunked_array([chunk for text in texts for chunk in text.chunks], pa.string()))
