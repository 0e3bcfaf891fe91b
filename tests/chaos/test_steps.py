"""Commands that are stopped before each of their changes of a storage, one after the other.

They are killed there and then repeated, or suspended while another command works on the same run. The result is that of
a command that nobody stopped; until then it is not taken for complete.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import audit, compact
from pipeline.io import parquet, storage
from pipeline.runs.compact import complete_parts
from pipeline.runs.run import Run
from schemas.errors import InputError
from tests.chaos import step_jobs
from tests.chaos.steps import Zygote
from tests.handmade import run_of_truth
from tests.moving_shapes import MovingShapes
from tests.segmented import masks

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

S3 = [pytest.param(kind, marks=pytest.mark.s3) for kind in ("s3", "parts")]  # see Zygote.run


@pytest.fixture(scope="module")
def zygote(s3_ports) -> Iterator[Zygote]:
    with Zygote() as running:
        yield running


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """Inputs: three videos of four frames with three expressions each; `run` has the true masks of all."""
    folder = tmp_path_factory.mktemp("steps") / step_jobs.INPUTS
    manifest, annotations = MovingShapes(videos=3, num_frames=4, height=64, width=64, seed=11).write(str(folder))
    run_of_truth(str(folder / "run"), manifest, annotations)
    compact.run(compact.CompactConfig(run=str(folder / "run"), out=str(folder / "compacted")))
    return folder


@pytest.fixture(params=[""])
def place(request, here) -> tuple[str, str]:
    """The folder that holds the inputs and all trials, and the kind of the storage."""
    kind = request.param
    if not kind:
        place = str(here.parent)
    else:
        place = f"{request.getfixturevalue('s3')}/{here.parent.name}"
        for path in here.rglob("*"):
            if path.is_file():
                storage.write_bytes(
                    storage.join(place, step_jobs.INPUTS, str(path.relative_to(here))), path.read_bytes()
                )
    write_manifests(storage.join(place, step_jobs.INPUTS))
    return place, kind


def write_manifests(inputs: str) -> None:
    """first: two videos, the second of them absent; second: its URI is corrected, and
    there is a third video."""
    rows = pq.read_table(pa.BufferReader(storage.read_bytes(storage.join(inputs, "manifest.parquet")))).to_pylist()
    for row in rows:
        row["video_uri"] = storage.join(inputs, row["video_uri"])
    late = rows[3]["video_id"]
    absent = [row | {"video_uri": f"{inputs}/absent.mp4"} if row["video_id"] == late else row for row in rows[:6]]
    parquet.write_table(storage.join(inputs, "first.parquet"), pa.Table.from_pylist(absent))
    parquet.write_table(storage.join(inputs, "second.parquet"), pa.Table.from_pylist(rows))


def copy(source: str, target: str) -> None:
    for path, names in storage.walk(source):
        for name in names:
            if not name.startswith("."):
                inner = [part for part in (*path.split("/"), name) if part]
                storage.write_bytes(storage.join(target, *inner), storage.read_bytes(storage.join(source, *inner)))


def stopped_everywhere(
    zygote: Zygote, place: tuple[str, str], job: Callable[[str], None], look: Callable[[str], None], before: str = ""
) -> None:
    """Stop `job` before each change, `look` at what is there, repeat it, and compare all that it has made."""
    base, kind = place
    undisturbed, number = trial(base, before, "undisturbed"), 0
    zygote.run(job, undisturbed, kind=kind)
    expected = content(undisturbed)
    look(undisturbed)
    while True:
        number += 1
        disturbed = trial(base, before, str(number))
        if zygote.run(job, disturbed, number, kind):
            break
        look(disturbed)
        assert zygote.run(job, disturbed, kind=kind)
        assert content(disturbed) == expected, f"stopped before change {number}"
    assert number > 2
    print(f"\n{job.__name__}, {kind or 'local'}: stopped before each of {number - 1} changes, then repeated")


def trial(base: str, before: str, name: str) -> str:
    folder = storage.join(base, f"trial-{name}")
    storage.remove_folder(folder)
    if before:
        copy(before, folder)
    return folder


def content(base: str) -> dict[str, Any]:
    """All files that a command has made, in a form in which two of its results are equal."""
    found: dict[str, Any] = {}
    for path, names in storage.walk(base):
        for name in names:
            uri = storage.join(base, *(part for part in (*path.split("/"), name) if part))
            inner = uri.removeprefix(f"{base}/")
            if any(part.startswith(".") for part in inner.split("/")) or inner.startswith(
                ("run/log/", "run/receipts/")
            ):
                continue  # one for each command
            found[inner] = comparable(uri, base)
    return found


def comparable(uri: str, base: str) -> Any:
    content = storage.read_bytes(uri)
    if uri.endswith(".parquet"):
        return pq.read_table(pa.BufferReader(content)).to_pylist()
    if uri.endswith((".json", "_SUCCESS")):
        values = json.loads(content)
        for name in ("run_id", "audited", "created", "generations"):
            values.pop(name, None)
        return json.dumps(values).replace(base, "BASE")
    return content


def is_whole(base: str) -> None:
    """An audit is clean only of all pairs, none in part; and it never fails."""
    folder = storage.join(base, "run")
    try:
        found = audit.run(audit.AuditConfig(run=folder)).audit
    except InputError:
        assert not storage.exists(storage.join(folder, "run.json"))
        return
    assert not any(found.counts[kind] for kind in audit.KINDS if kind != "missing"), found.listed
    if found.clean:
        assert found.pairs == masks(folder).group_by(["video_id", "expression_id"]).aggregate([]).num_rows
    storage.remove(storage.join(folder, "_SUCCESS"))


@pytest.mark.parametrize("job", [step_jobs.segment, step_jobs.import_masks])
def test_a_run(zygote, place, job):
    stopped_everywhere(zygote, place, job, is_whole)


def prepared(zygote: Zygote, place: tuple[str, str], job: Callable[[str], None]) -> str:
    """A folder with the run of `job`, to begin with."""
    base = trial(place[0], "", f"before-{job.__name__}")
    assert zygote.run(job, base)
    return base


def test_a_retry_with_a_corrected_uri_and_more_rows(zygote, place):
    before = prepared(zygote, place, step_jobs.segment)
    stopped_everywhere(zygote, place, step_jobs.retry, is_whole, before)


def test_a_retry_with_other_options(zygote, place):
    before = prepared(zygote, place, step_jobs.segment)
    absent, video = absent_video(place[0])
    storage.write_bytes(absent, video)
    try:
        stopped_everywhere(zygote, place, step_jobs.retry_otherwise, is_whole, before)
    finally:
        storage.remove(absent)


def test_a_repair(zygote, place):
    before = prepared(zygote, place, step_jobs.segment)
    run = Run.open(storage.join(before, "run"))
    storage.write_bytes(run.masks_uri(run.units()[0].unit_id), b"")
    stopped_everywhere(zygote, place, step_jobs.repair, lambda _: None, before)


@pytest.mark.parametrize("place", ["", *S3], indirect=True)
def test_a_compaction(zygote, place):
    def look(base: str) -> None:
        parts = whole_parts(base)
        assert parts is None or sum(part.pairs for part in parts) == 9

    stopped_everywhere(zygote, place, step_jobs.compact, look)


@pytest.mark.parametrize("job", [step_jobs.evaluate, step_jobs.export_webdataset, step_jobs.export_coco])
def test_outputs(zygote, place, job):
    stopped_everywhere(zygote, place, job, lambda _: None)


def test_an_audit(zygote, place):
    before = prepared(zygote, place, step_jobs.segment)
    stopped_everywhere(zygote, place, step_jobs.audit, lambda _: None, before)


def absent_video(place: str) -> tuple[str, bytes]:
    """URI and content of the video that does not exist."""
    inputs = storage.join(place, step_jobs.INPUTS)
    return storage.join(inputs, "absent.mp4"), storage.read_bytes(storage.join(inputs, "videos", "shapes-0001.mp4"))


def test_two_commands_at_once(zygote, place):
    """One is suspended before each of its changes, and goes on when the other has ended."""
    base, kind = place
    alone, number = trial(base, "", "alone"), 0
    assert zygote.run(step_jobs.segment, alone, kind=kind)
    expected = masks(storage.join(alone, "run"))
    while True:
        number += 1
        folder = trial(base, "", f"two-{number}")
        ended = zygote.run_two(step_jobs.segment, step_jobs.segment, folder, number, kind)
        if ended is None:
            break
        run = storage.join(folder, "run")
        found = audit.run(audit.AuditConfig(run=run))
        assert (*ended, found.exit_code) == (0, 0, 0), f"suspended before change {number}: {found.text()}"
        assert masks(run).equals(expected), f"suspended before change {number}"
    assert number > 2


def whole_parts(base: str) -> tuple | None:
    try:
        return complete_parts(storage.join(base, "compacted"))
    except InputError:
        return None
