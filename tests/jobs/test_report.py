"""`rvos report`: content of the page, works offline, is accessible, escapes hostile text."""

import base64
import hashlib
import io
import json
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from cli import main
from jobs import evaluate, report
from jobs.evaluate import EvaluateConfig
from jobs.report import ReportConfig
from pipeline.evaluation.summary.outputs import score_rows
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.io import parquet, storage
from schemas import rle
from schemas.errors import InputError
from schemas.scores import FRAME_SCORES
from tests.page import HOSTILE, Page


def moved(annotations, shift):
    """Yield the true masks as predictions, moved to the right by `shift` times the number of the object."""
    for row in pq.read_table(annotations).to_pylist():
        thing = row.pop("object_id")
        if row["counts"] is None:
            counts = rle.empty(row["height"], row["width"])
        else:
            mask = rle.decode(row["counts"], row["height"], row["width"])
            counts = rle.encode(np.roll(mask, shift * int(thing), axis=1)[None])[0]
        yield row | {"expression_id": thing, "counts": counts}


@pytest.fixture(scope="module")
def data(shapes, tmp_path_factory):
    """Scores of two sets of masks on small videos; one expression and one attribute are hostile."""
    folder = tmp_path_factory.mktemp("report")
    manifest = pq.read_table(shapes[0]).to_pylist()
    videos = Path(shapes[0]).parent
    for row in manifest:
        row["video_uri"] = str(videos / row["video_uri"])
        row[HOSTILE] = row["colour"]
    manifest[0]["expression"] = HOSTILE
    pq.write_table(pa.Table.from_pylist(manifest), folder / "manifest.parquet")
    options = {"annotations": shapes[1], "manifest": str(folder / "manifest.parquet"), "by": ("shape", "colour")}
    for name, shift in (("new", 2), ("old", 4)):
        pq.write_table(pa.Table.from_pylist(list(moved(shapes[1], shift))), folder / f"{name}.parquet")
        predictions = str(folder / f"{name}.parquet")
        evaluate.run(EvaluateConfig(predictions=predictions, out=str(folder / name), **options))
    return folder


@pytest.fixture(scope="module")
def page(data):
    result = report.run(ReportConfig(scores=str(data / "new"), out=str(data / "out"), against=str(data / "old")))
    content = Path(result.page).read_bytes()
    assert len(content) == result.bytes
    assert result.notes == []
    return content


def test_the_page_is_complete(page):
    found = Page(page)
    assert found.all("script") == []
    assert [name for _, attributes in found.found for name in attributes if name.startswith("on")] == []
    assert [name for _, attributes in found.found for name in attributes if name == "style"] == []
    sources = [value for _, a in found.found for name, value in a.items() if name in ("src", "href", "xlink:href")]
    assert all(value.startswith(("data:image/jpeg;base64,", "#")) for value in sources)
    style = re.search(r"<style>(.*?)</style>", page.decode(), re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = next(a["content"] for a in found.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "url(" not in style
    assert "@import" not in style


def test_it_says_how_it_came_about(page, data):
    text = Page(page).text
    assert f"rvos report {data}/new --out {data}/out --against {data}/old" in text
    assert f"baseline{data}/old" in text.replace("\n", "").replace(" ", "")
    assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC", text)
    assert "neither a seed nor a number of resamples" in text


def test_hostile_text_stays_text(page):
    found = Page(page)
    assert HOSTILE in found.text
    assert [attributes for attributes in found.all("img") if attributes["src"] == "x"] == []
    assert "&lt;script&gt;alert(1)" in page.decode()


def test_it_works_with_screen_reader_and_keyboard(page):
    found = Page(page)
    assert found.all("html")[0]["lang"] == "en"
    assert found.found[[tag for tag, _ in found.found].index("body") + 1] == ("a", {"class": "skip", "href": "#main"})
    headings = [int(tag[1]) for tag, _ in found.found if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1 == headings.count(1)
    assert all(after - before <= 1 for before, after in pairwise(headings))
    ids = [attributes["id"] for _, attributes in found.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for a in found.all("a") if a["href"].startswith("#")]
    assert set(links) <= set(ids)
    assert all(attributes["alt"] for attributes in found.all("img"))
    figures = [attributes["id"] for attributes in found.all("figure")]
    assert figures == ["against", "histogram", "j-f", "over-time", "by-object-size"]
    assert len(found.all("details")) == len(figures)
    scrolled = [a for tag, a in found.found if a.get("class", "").startswith(("scroll", "strip"))]
    assert scrolled
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in scrolled)


def test_the_content(data, page):
    found = Page(page)
    summary = json.loads((data / "new" / "summary.json").read_text())
    for metric in ("J&F", "J", "F"):
        assert f"{summary['overall'][metric]:.4f}" in found.text
        assert summary["overall"]["interval"][metric] is None
    for text in (
        "no interval",
        "overall: fewer than 5 videos, too few for an interval",
        "Change from the baseline",
        "By attribute",
        "Improved most",
        "Lowest J&F",
        "over the 9 pairs of 3 videos",
    ):
        assert text in found.text
    assert summary["truth_hash"] in found.text
    assert {row["value"] for row in summary["by"]["shape"]} <= set("\n".join(found.texts).split("\n"))


def test_frames_are_real_and_small(page):
    images = [base64.b64decode(a["src"].partition(",")[2]) for a in Page(page).all("img")]
    assert len(images) >= 9 * 5
    for content in images[:10]:
        image = Image.open(io.BytesIO(content))
        assert image.size == (128, 96)
        assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) > 50  # not a plain ground


def test_the_lowest_frame_is_among_them(data, page):
    frames = pd.concat(
        [pq.read_table(data / n / "frame_scores.parquet").to_pandas().assign(of=n) for n in ("new", "old")]
    )
    lowest = frames[frames["metric"] == "J"].groupby(["of", "video_id", "expression_id"])["value"].min()
    marked = re.findall(r"J (\d\.\d\d) F \d\.\d\d · lowest", Page(page).text)
    assert {f"{value:.2f}" for value in lowest} >= set(marked) != set()


def test_unreachable_files_are_noted_and_left_out(data, tmp_path):
    gone = json.loads((data / "new" / "summary.json").read_text())
    for name in ("scores.parquet", "frame_scores.parquet"):
        (tmp_path / name).write_bytes((data / "new" / name).read_bytes())
    rows = pq.read_table(data / "manifest.parquet").to_pylist()
    lost = [row | {"video_uri": str(tmp_path / "gone.mp4")} for row in rows]
    pq.write_table(pa.Table.from_pylist(lost), tmp_path / "m.parquet")
    (tmp_path / "summary.json").write_text(json.dumps(gone))
    without_frames = report.run(
        ReportConfig(scores=str(tmp_path), out=str(tmp_path / "o"), manifest=str(tmp_path / "m.parquet"))
    )
    found = Page(Path(without_frames.page).read_bytes())
    assert "gone.mp4 does not exist" in found.text
    assert len(found.all("img")) == without_frames.pictures > 0  # masks on a plain ground
    (tmp_path / "summary.json").write_text(json.dumps(gone | {"predictions": str(tmp_path / "none.parquet")}))
    without_masks = report.run(ReportConfig(scores=str(tmp_path), out=str(tmp_path / "o")))
    assert without_masks.pictures == 0
    assert "no predictions at" in without_masks.notes[0]
    assert "no predictions at" in Page(Path(without_masks.page).read_bytes()).text
    moved_here = report.run(
        ReportConfig(scores=str(tmp_path), out=str(tmp_path / "o"), predictions=str(data / "new.parquet"))
    )
    assert moved_here.pictures > 0
    assert max(map(len, without_masks.text().splitlines()[1:])) <= 80


def test_label_maps_find_their_frames_by_media(data, tmp_path):
    """Without a manifest, videos are known by name alone."""
    for frame in range(6):
        for folder, left in (("truth", 4), ("found", 6)):
            labels = np.zeros((40, 60), np.uint8)
            labels[10:30, left : left + 20] = 1
            path = tmp_path / folder / "v" / f"{frame:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(labels).save(path)
        image = np.random.default_rng(frame).integers(0, 255, (40, 60, 3), np.uint8)
        path = tmp_path / "media" / "v" / f"{frame:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    options = {"predictions": str(tmp_path / "found"), "annotations": str(tmp_path / "truth")}
    evaluate.run(EvaluateConfig(out=str(tmp_path / "s"), **options))
    without = report.run(ReportConfig(scores=str(tmp_path / "s"), out=str(tmp_path / "o")))
    assert "show its frames with --manifest or --media" in Page(Path(without.page).read_bytes()).text
    found = report.run(ReportConfig(scores=str(tmp_path / "s"), out=str(tmp_path / "o"), media=str(tmp_path / "media")))
    text = Path(found.page).read_bytes()
    assert "show its frames with" not in Page(text).text
    image = Image.open(io.BytesIO(base64.b64decode(Page(text).all("img")[0]["src"].partition(",")[2])))
    assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) > 500


def test_many_pairs_do_not_make_a_large_page(tmp_path):
    """8,000 pairs with long ids, an attribute with many values, and no masks."""
    rng, count = np.random.default_rng(0), 8_000
    rows = pd.DataFrame(
        {
            "video_id": [f"video-{'x' * 150}-{n // 16}" for n in range(count)],
            "expression_id": [f"{n % 16}-{'<y>' * 40}" for n in range(count)],
            "object_id": None, "annotator": None, "J": rng.random(count), "F": rng.random(count),
            "kind": [f"kind {n % 5}" for n in range(count)], "source": [f"source {n % 999}" for n in range(count)],
            "object_size": rng.random(count) ** 3, "words": rng.integers(1, 20, count),
        }
    )  # fmt: skip
    rows["J&F"] = (rows["J"] + rows["F"]) / 2
    overall = {
        "n": count,
        "videos": count // 16,
        **{m: float(rows[m].mean()) for m in ("J&F", "J", "F")},
        "interval": {},
    }
    summary = {
        "protocol": "all-frames", "missing_rule": "zero", "overall": overall, "by": {}, "warnings": [],
        "predictions": str(tmp_path / "none"), "annotations": str(tmp_path / "none"), "manifest": None,
        "pairs": {"scored": count}, "frames": {"scored": count, "missing": 0},
        "failed_pairs": [{"video_id": "v" * 150, "expression_id": str(n), "error": "e" * 5000} for n in range(1000)],
    }  # fmt: skip
    storage.write_bytes(str(tmp_path / "summary.json"), json.dumps(summary).encode())
    attributes = ["kind", "source", "object_size", "words"]
    parquet.write_table(str(tmp_path / "scores.parquet"), score_rows(rows, ["J&F", "J", "F"], attributes))
    pq.write_table(FRAME_SCORES.empty_table(), tmp_path / "frame_scores.parquet")
    result = report.run(ReportConfig(scores=str(tmp_path), out=str(tmp_path / "out")))
    assert result.bytes < 2_000_000
    found = Page(Path(result.page).read_bytes())
    assert "kind 3" in found.text
    assert "source 3" not in found.text  # too many values to be a heading
    assert "The 50 lowest and highest of 8000 by F" in found.text


def test_by_the_command(data, tmp_path):
    done = CliRunner().invoke(main, ["report", str(data / "new"), "--out", str(tmp_path / "o"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["page"] == str(tmp_path / "o" / "report.html")
    assert CliRunner().invoke(main, ["report", str(tmp_path / "none"), "--out", str(tmp_path)]).exit_code == 2


@pytest.mark.s3
def test_on_s3(data, s3, tmp_path):
    for name in ("summary.json", "scores.parquet", "frame_scores.parquet"):
        storage.write_bytes(f"{s3}/{tmp_path.name}/new/{name}", (data / "new" / name).read_bytes())
    options = {"scores": f"{s3}/{tmp_path.name}/new", "out": f"{s3}/{tmp_path.name}/out"}
    refused = report.run(ReportConfig(**options))
    assert refused.pictures == 0
    assert "on this machine" in refused.notes[0]
    assert "--allow-local" in refused.notes[0]
    result = report.run(ReportConfig(allow_local=True, **options))
    assert result.page == f"{s3}/{tmp_path.name}/out/report.html"
    assert len(storage.read_bytes(result.page)) == result.bytes
    assert result.pictures > 0


def test_wrong_use(data, tmp_path):
    for options, message in [
        ({"scores": str(tmp_path)}, "holds no scores"),
        ({"scores": str(data / "new"), "against": str(tmp_path)}, "holds no scores"),
    ]:
        with pytest.raises(InputError, match=message):
            report.run(ReportConfig(out=str(tmp_path / "o"), **options))
    for text, message in (("{", "cannot be read"), ("[]", "is not a summary"), ('{"overall": 3}', "is not a summary")):
        (tmp_path / "summary.json").write_text(text)
        with pytest.raises(InputError, match=message):
            report.run(ReportConfig(scores=str(tmp_path), out=str(tmp_path / "o")))
    noted = report.run(ReportConfig(scores=str(data / "new"), out=str(tmp_path / "o"), media=str(tmp_path / "none")))
    assert "is not a folder" in noted.notes[0]


def test_videos_of_one_frame(tmp_path):
    """A2D has neither J nor F, and no plot over time."""
    rng = np.random.default_rng(0)
    rows, found = [], []
    for n in range(12):
        mask = np.zeros((20, 30), bool)
        mask[5:15, 5:20] = True
        size = {"video_id": f"v{n}", "expression_id": "0", "frame_index": 0, "height": 20, "width": 30}
        rows.append(size | {"counts": rle.encode(mask[None])[0]})
        found.append(size | {"counts": rle.encode(np.roll(mask, int(rng.integers(8)), 1)[None])[0], "score": 0.5})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "gt.parquet")
    pq.write_table(pa.Table.from_pylist(found), tmp_path / "p.parquet")
    options = {"predictions": str(tmp_path / "p.parquet"), "annotations": str(tmp_path / "gt.parquet")}
    evaluate.run(EvaluateConfig(out=str(tmp_path / "s"), protocol="a2d", **options))
    result = report.run(ReportConfig(scores=str(tmp_path / "s"), out=str(tmp_path / "o")))
    text = Page(Path(result.page).read_bytes()).text
    assert "Pairs by overall IoU" in text
    assert "P@0.5" in text
    assert "over time" not in text
    assert result.pictures > 0


@pytest.mark.parametrize("place", ["/home/me/x.parquet", "x", "file:///x", "~/x", "tar://x::/home/me/x.tar"])
def test_scores_of_another_place_name_no_file_of_this_machine(place):
    scored = ScoreFolder("s3://stranger/scores", {"predictions": place})
    with pytest.raises(InputError, match="on this machine.* give --predictions .*--allow-local"):
        scored.place_of("predictions")
    assert scored.place_of("predictions", allow_local=True)


@pytest.mark.parametrize(
    "place",
    ["https://stranger.example/p.parquet?sig=PASSWD", "s3://stranger/p.parquet", "tar://p::s3://stranger/p.tar"],
)
@pytest.mark.parametrize("name", ["predictions", "annotations", "manifest"])
def test_what_a_strangers_summary_names_is_not_opened(data, tmp_path, monkeypatch, name, place):
    for each in (data / "new").iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    summary = json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps(summary | {name: place}))

    def fail(*_, **__):
        raise AssertionError("opened")

    monkeypatch.setattr("pipeline.io.http.repeat", fail)
    monkeypatch.setattr("pipeline.io.s3.read_range", fail)
    monkeypatch.setattr("pipeline.io.remote.filesystem", fail)
    result = report.run(ReportConfig(scores=str(tmp_path), out=str(tmp_path / "out")))
    (note,) = result.notes
    assert f"give --{name}" in note
    assert "PASSWD" not in note


def test_secrets_in_a_strangers_summary_are_hidden(data, tmp_path):
    for each in (data / "new").iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    summary = json.loads((tmp_path / "summary.json").read_text())
    keys, link = "s3://KEY:PASS/WD@bucket/p.parquet", "https://host.example/v.mp4?X-Amz-Signature=PASSWD"
    places = dict.fromkeys(("predictions", "annotations", "manifest", "missing_rule"), keys)
    lost = [{"video_id": "a", "expression_id": "0", "error": f"{link} does not exist"}]
    changes = places | {"version": "half \ud800", "warnings": [f"no frame of {link}"], "incomplete_pairs": lost}
    (tmp_path / "summary.json").write_text(json.dumps(summary | changes))
    result = report.run(ReportConfig(scores=str(tmp_path), out=str(tmp_path / "out")))
    content = Path(result.page).read_text()
    for secret in ("PASSWD", "PASS/WD", "KEY:"):
        assert secret not in content
    assert content.count("s3://***@bucket/p.parquet") >= len(places)
    assert content.count("https://host.example/v.mp4?***") == 2
    assert r"half \ud800" in content


@pytest.mark.parametrize("name", ["j-f", "histogram"])
def test_plots_of_others_are_not_replaced(data, tmp_path, name):
    config = ReportConfig(scores=str(data / "new"), out=str(tmp_path), svg=True)
    mine = tmp_path / "plots" / f"{name}.svg"
    mine.parent.mkdir()
    mine.write_text("<svg>mine</svg>\n")
    with pytest.raises(InputError, match=rf"plots/{name}\.svg exists and was not made of the same; remove it"):
        report.run(config)
    assert [path.name for path in tmp_path.rglob("*.*")] == [mine.name]
    assert mine.read_text() == "<svg>mine</svg>\n"
    mine.unlink()
    assert report.run(config).plots == report.run(config).plots


def test_plots_are_svg_files_too(data):
    out = data / "with plots"
    result = report.run(
        ReportConfig(scores=str(data / "new"), out=str(out), against=str(data / "old"), svg=True, media=str(data))
    )
    names = ["against", "histogram", "j-f", "over-time", "by-object-size"]
    assert result.plots == [str(out / "plots" / f"{name}.svg") for name in names]
    assert f"plots   5 SVG files in {out}/plots" in result.text()
    for path in result.plots:
        root = ElementTree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.find("{*}title").text
        elements = list(root.iter())
        assert {element.tag.partition("}")[2] for element in elements}.isdisjoint({"script", "image", "use", "a"})
        texts = Path(path).read_text()
        assert re.findall("https?://", texts) == ["http://"]  # its own name space
        drawn = [element for element in elements if element.get("class") in ("bar", "dot", "dot linked", "line a")]
        assert drawn
    in_page = Page(Path(result.page).read_bytes())
    points = [a["points"] for a in in_page.all("polyline")]
    in_files = [
        line.get("points")
        for path in result.plots
        for line in ElementTree.parse(path).getroot().findall(".//{*}polyline")
    ]
    assert in_files == points


def test_the_page_of_other_scores_is_not_replaced(data, tmp_path):
    def write(**options) -> bytes:
        return Path(report.run(ReportConfig(out=str(tmp_path), **options)).page).read_bytes()

    old, new = str(data / "old"), str(data / "new")
    write(scores=new)
    write(scores=new, svg=True)
    assert (tmp_path / "plots").is_dir()
    for other in ({"scores": old}, {"scores": new, "against": old}):
        with pytest.raises(InputError, match="report.html exists and was not made of the same"):
            write(**other)
    (tmp_path / "report.html").unlink()
    page = write(scores=new, against=old)
    with pytest.raises(InputError, match="remove it, or choose another path"):
        write(scores=old, against=new)
    assert (tmp_path / "report.html").read_bytes() == page
