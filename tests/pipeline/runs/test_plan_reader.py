"""The plan rows of units, read for hours by one process."""

import pyarrow as pa
import pytest

from pipeline.runs import plan_reader, run
from pipeline.runs.plan import PlanOptions
from pipeline.runs.plan_reader import PlanReader
from pipeline.runs.run import Run
from schemas.errors import InputError

ROWS = 3000


def planned(folder: str, parts: int = 1) -> Run:
    made = Run.start(folder, "f", {}, {})
    rows = [
        {
            "video_id": f"v{row:05}",
            "video_uri": f"/v{row}",
            "expression_id": "0",
            "expression": f"the shape {row * row}",
        }
        for row in range(ROWS * parts)
    ]
    for part in range(parts):
        made.extend_plan(pa.Table.from_pylist(rows[: ROWS * (part + 1)]), "m", PlanOptions(unit_frames=1000))
    return made


@pytest.mark.s3
def test_a_footer_is_fetched_once_and_rows_in_one_request(s3, tmp_path, monkeypatch):
    from pipeline.io import s3 as objects

    monkeypatch.setattr(run, "PLAN_ROW_GROUP", 50)
    monkeypatch.setattr(plan_reader, "PLAN_ROW_GROUP", 50)
    made, requests, read = planned(f"{s3}/{tmp_path.name}"), [], objects.read_range

    def counted(uri, wanted, version=None):
        content = read(uri, wanted, version)
        requests.append(len(content[0]))
        return content

    monkeypatch.setattr(objects, "read_range", counted)
    reader, units = PlanReader(made), made.units()
    requests.clear()
    videos = [video for unit in units for video in reader.rows(unit)["video_id"].to_pylist()]
    assert sorted(videos) == [f"v{row:05}" for row in range(ROWS)]
    opening = 3  # its last bytes, the footer, and what of both is in the first request
    assert len(requests) <= len(units) + opening
    assert sum(sorted(requests)[:-opening]) < 20_000 * len(units)


def test_only_a_few_parts_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_reader, "OPEN_PARTS", 2)
    made = planned(str(tmp_path / "run"), parts=3)
    reader = PlanReader(made)
    for _ in range(2):
        assert sum(reader.rows(unit).num_rows for unit in made.units()) == 3 * ROWS
    assert len(reader._open) == 2


def test_after_an_error_the_part_is_opened_anew(tmp_path, monkeypatch):
    made = planned(str(tmp_path / "run"))
    reader, unit = PlanReader(made), made.units()[0]
    reader.rows(unit)
    file = reader._open[0][0]
    monkeypatch.setattr(file, "read_row_groups", lambda _: (_ for _ in ()).throw(InputError("damaged")))
    with pytest.raises(InputError, match="damaged"):
        reader.rows(unit)
    assert reader.rows(unit).num_rows == unit.stop - unit.start
