"""`rvos demo`: the whole product on the checkpoint in the box, through the same jobs as any real run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from jobs import audit, evaluate, report, segment
from jobs.config.demo import DemoConfig
from jobs.segment_result import SegmentResult
from pipeline.datasets.synthetic.moving_shapes import write_rows
from pipeline.datasets.synthetic.synthetic import SyntheticVideos
from pipeline.drawing.overlay import contact_sheet, overlay
from pipeline.drawing.video_file import write_mp4
from pipeline.io import output_folder, storage
from pipeline.runs.run import Run
from pipeline.video import Selection, probe, read_frames
from schemas import rle
from schemas.errors import InputError, MediaError
from schemas.manifest import MANIFEST

MARK = "demo.txt"  # tells a folder of an earlier demo, which may be replaced, from anything else
SHAPES = SyntheticVideos(videos=24, split="test", frames=(8, 12), expressions=2, seed=7)
DRAWN_FRAMES = 5
MOST_FRAMES = 300  # drawn of a user's own video
LEAST_HEIGHT = 240  # of what is drawn; small frames are enlarged


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoResult:
    """Results of the steps, and where everything is. Scores are there where the truth is."""

    out: str
    picture: str
    film: str
    segmented: SegmentResult
    audited: audit.AuditResult
    scored: evaluate.EvaluateResult | None
    reported: report.ReportResult | None

    @property
    def exit_code(self) -> int:
        steps = [self.segmented, self.audited, *([self.scored] if self.scored else [])]
        return max(step.exit_code for step in steps)

    def to_json(self) -> dict:
        steps = {"segment": self.segmented.to_json(), "audit": self.audited.to_json()}
        if self.scored:
            steps["evaluate"] = self.scored.to_json()
        if self.reported:
            steps["report"] = self.reported.to_json()
        return {"out": self.out, "picture": self.picture, "film": self.film, **steps}

    def text(self) -> str:
        truth = ", white line: truth" if self.scored else ""
        steps = [self.segmented.text(), self.audited.text(), *([self.scored.text()] if self.scored else [])]
        places = [
            f"masks    {self.out}/run/masks/",
            *([f"scores   {self.out}/scores/"] if self.scored else []),
            *([f"report   {self.reported.page}"] if self.reported else []),
            f"film     {self.film} (pink: predicted{truth})",
            f"picture  {self.picture}",
        ]
        return "\n\n".join([*steps, "\n".join(places)])


def run(config: DemoConfig) -> DemoResult:
    """Do it all in `config.out`.

    Raises InputError if that folder holds anything but an earlier demo, or if the video cannot be read.
    """
    if config.video is not None:
        _require_readable(config.video)
    out = storage.absolute(config.out)
    if output_folder.has_marker(out, MARK):
        storage.remove_folder(out)
    storage.write_bytes(storage.join(out, MARK), b"Written by 'rvos demo'; the next demo replaces this folder.\n")
    if config.video is None:
        manifest, annotations, _ = SHAPES.write(storage.join(out, "data"))
    else:
        manifest, annotations = _own_manifest(config, out), None
    segmented = segment.run(segment.SegmentConfig(manifest=manifest, run=storage.join(out, "run")))
    audited = audit.run(audit.AuditConfig(run=segmented.run, manifest=manifest))
    scored = reported = None
    if annotations is not None:
        scored = evaluate.run(
            evaluate.EvaluateConfig(
                predictions=segmented.run,
                annotations=annotations,
                out=storage.join(out, "scores"),
                by=("kind", "size", "unseen"),
            )
        )
        scores = storage.join(out, "scores")
        reported = report.run(report.ReportConfig(scores=scores, out=storage.join(out, "report")))
    picture, film = storage.join(out, "masks.png"), storage.join(out, "masks.mp4")
    _draw(segmented.run, annotations, picture, film)
    return DemoResult(
        out=out,
        picture=picture,
        film=film,
        segmented=segmented,
        audited=audited,
        scored=scored,
        reported=reported,
    )


def _require_readable(video: str) -> None:
    try:
        probe(storage.absolute(video))
    except MediaError as error:
        raise InputError(f"--video {video}: {error}") from None


def _own_manifest(config: DemoConfig, out: str) -> str:
    assert config.video is not None
    uri = storage.absolute(config.video)
    name = Path(uri).stem or "video"
    row = {"video_id": name, "video_uri": uri, "expression_id": "0", "expression": config.expression}
    return write_rows(storage.join(out, "manifest.parquet"), [row], MANIFEST)


def _draw(run: str, annotations: str | None, picture: str, film: str) -> None:
    """A row of the picture for each pair drawn, and all their frames as a film."""
    manifest = Run.open(run).manifest().to_pylist()
    truth = {} if annotations is None else _rows(storage.read_table(annotations), "object_id")
    folder = storage.join(run, "masks")
    found = _rows(pa.concat_tables(storage.read_table(storage.join(folder, name)) for name in storage.names(folder)))
    rows: list[tuple[str, list[np.ndarray]]] = []
    for pair in _one_of_each_kind(manifest):
        rows.append((f"{pair['video_id']}: {pair['expression']}", list(_frames(pair, found, truth))))
    if not any(frames for _, frames in rows):
        return
    chosen = [
        (caption, [frames[i] for i in np.linspace(0, len(frames) - 1, DRAWN_FRAMES).astype(int)])
        for caption, frames in rows
        if frames
    ]
    contact_sheet(chosen).save(picture)
    drawn = (_even(contact_sheet([(caption, [frame])])) for caption, frames in rows for frame in frames)
    write_mp4(film, drawn, fps=12)


def _one_of_each_kind(manifest: Sequence[dict]) -> list[dict]:
    """The first pair of each kind of sentence; of a user's own, all there are."""
    return list({pair.get("kind", "own"): pair for pair in reversed(manifest)}.values())[::-1]


def _rows(table: pa.Table, of: str = "expression_id") -> dict[tuple[str, str, int], dict]:
    return {(row["video_id"], row[of], row["frame_index"]): row for row in table.to_pylist() if row["counts"]}


def _frames(pair: dict, found: dict, truth: dict) -> Iterator[np.ndarray]:
    """The frames that have a prediction, with masks drawn on them; small ones enlarged."""
    video, expression, target = pair["video_id"], pair["expression_id"], (pair.get("object_ids") or [""])[0]
    indices = sorted(index for name, number, index in found if (name, number) == (video, expression))[:MOST_FRAMES]
    if not indices:
        return
    for frame in read_frames(pair["video_uri"], Selection(indices=tuple(indices))):
        masks = [_mask(rows.get((video, name, frame.index))) for rows, name in ((found, expression), (truth, target))]
        drawn = overlay(frame.image, *masks)
        factor = max(1, LEAST_HEIGHT // len(drawn))
        yield drawn.repeat(factor, axis=0).repeat(factor, axis=1)


def _mask(row: dict | None) -> np.ndarray | None:
    return rle.decode(row["counts"], row["height"], row["width"]) if row else None


def _even(image: Image.Image) -> np.ndarray:
    """As pixels, without a last row or column that the codec cannot take."""
    return np.asarray(image)[: image.height // 2 * 2, : image.width // 2 * 2]
