"""`rvos demo`: segment, audit, score and draw synthetic videos with the bundled checkpoint, by the jobs of the other
commands."""

from dataclasses import dataclass
from pathlib import Path

from jobs import audit, evaluate, report, segment
from jobs.config.demo import DemoConfig
from jobs.result import JobResult
from jobs.segment_result import SegmentResult
from pipeline.datasets.synthetic.shapes import write_rows
from pipeline.datasets.synthetic.synthetic import SyntheticVideos
from pipeline.drawing.run_pictures import draw_run
from pipeline.io import output_folder, storage
from pipeline.video import probe
from schemas.errors import InputError, MediaError
from schemas.manifest import MANIFEST

MARK = "demo.txt"  # marks the folder of an earlier demo, whose files may be replaced
FOLDERS, FILES = ("data", "run", "scores", "report"), ("manifest.parquet", "masks.png", "masks.mp4")  # of a demo
SHAPES = SyntheticVideos(videos=24, split="test", frames=(8, 12), expressions=2, seed=7)


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoResult(JobResult):
    """Results of the steps, and the files. `scored` and `reported` are None for a video of the user."""

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
        truth = ", white line: ground truth" if self.scored else ""
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
    """Segment, audit, score and draw in the folder `config.out`.

    Raises InputError if the folder is not empty and not of an earlier demo, or if the video cannot be read.
    """
    if config.video is not None:
        try:
            probe(storage.absolute(config.video))
        except MediaError as error:
            raise InputError(f"--video {config.video}: {error}") from None
    out = storage.absolute(config.out)
    if output_folder.has_marker(out, MARK):
        for name in FOLDERS:
            storage.remove_folder(storage.join(out, name))
        for name in FILES:
            storage.remove(storage.join(out, name))
    storage.write_bytes(storage.join(out, MARK), b"Written by 'rvos demo'; the next demo replaces its files.\n")
    if config.video is None:
        manifest, annotations, _ = SHAPES.write(storage.join(out, "data"))
    else:
        uri = storage.absolute(config.video)
        ids = {"video_id": Path(uri).stem or "video", "expression_id": "0"}
        row = ids | {"video_uri": uri, "expression": config.expression}
        manifest, annotations = write_rows(storage.join(out, "manifest.parquet"), [row], MANIFEST), None
    segmented = segment.run(
        segment.SegmentConfig(manifest=manifest, run=storage.join(out, "run"), allow_local=config.video is not None)
    )
    audited = audit.run(audit.AuditConfig(run=segmented.run, manifest=manifest))
    scored = reported = None
    if annotations is not None:
        scores, by = storage.join(out, "scores"), ("kind", "size", "unseen")
        scored = evaluate.run(
            evaluate.EvaluateConfig(predictions=segmented.run, annotations=annotations, out=scores, by=by)
        )
        reported = report.run(report.ReportConfig(scores=scores, out=storage.join(out, "report")))
    picture, film = storage.join(out, "masks.png"), storage.join(out, "masks.mp4")
    draw_run(segmented.run, annotations, picture, film)
    return DemoResult(
        out=out,
        picture=picture,
        film=film,
        segmented=segmented,
        audited=audited,
        scored=scored,
        reported=reported,
    )
