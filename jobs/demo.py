"""`rvos demo`: segment, audit, score and draw synthetic videos or one video, by the jobs of the other commands."""

import os
import shlex
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from jobs import audit, check, evaluate, report, segment
from jobs.config.demo import DemoConfig
from jobs.result import JobResult
from jobs.segment_result import SegmentResult
from jobs.terminal.output import echo
from jobs.terminal.progress import count, update
from model.bundled import BUNDLED, NOTE
from pipeline.datasets.synthetic.shapes import write_rows
from pipeline.datasets.synthetic.synthetic import SyntheticVideos
from pipeline.drawing.run_pictures import draw_run
from pipeline.io import output_folder, parquet, storage
from pipeline.io.private_folder import private_folder
from pipeline.io.replaced_output import replacing
from schemas.errors import InputError
from schemas.manifest import MANIFEST

MARK = "demo.txt"  # marks the folder of an earlier demo, whose files may be replaced
FOLDERS, FILES = ("data", "run", "scores", "report"), ("manifest.parquet", "masks.png", "masks.mp4")  # of a demo
SHAPES = SyntheticVideos(videos=24, split="test", frames=(8, 12), expressions=2, seed=7)


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoResult(JobResult):
    """Results of the steps, and the files. `scored` and `reported` are None for a video of the user.

    `picture` and `film` are None if no pair has masks. `next_command` segments one of the videos as one's own.
    """

    out: str
    picture: str | None
    film: str | None
    segmented: SegmentResult
    audited: audit.AuditResult
    scored: evaluate.EvaluateResult | None
    reported: report.ReportResult | None
    next_command: str | None = None

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
            *([f"film     {self.film} (pink line: predicted{truth})", f"picture  {self.picture}"] if self.film else []),
        ]
        ends = [] if self.film else ["No pair has masks, so there is no picture and no film; see the errors above."]
        ends += (
            [f"Next, put your own clip and sentence in their place:\n{self.next_command}"] if self.next_command else []
        )
        return "\n\n".join([*steps, "\n".join(places), *ends])


def run(config: DemoConfig) -> DemoResult:
    """Segment, audit, score and draw in the folder `config.out`.

    Raises InputError if the folder is not empty and not of an earlier demo, or for a video, sentence or checkpoint that
    cannot be used. The result of an earlier demo stays if this one fails or is interrupted.
    """
    if config.checkpoint is None:
        echo(NOTE, err=True)
    rows = [] if config.video is None else _rows_of(config.video, config.expression)
    if rows:
        _require_usable(rows, config)
    out = storage.absolute(config.out)
    _require_kept(config, out)
    output_folder.has_marker(out, MARK)  # raises for a folder with files that is no demo
    text = b"Written by 'rvos demo'; the next demo replaces its files.\n"
    storage.write_bytes(storage.join(out, MARK), text, replace=False)
    with replacing(out, (*FOLDERS, *FILES), MARK):
        return _write(config, out, rows)


def _write(config: DemoConfig, out: str, rows: list[dict]) -> DemoResult:
    """Segment, audit, score and draw these rows of a manifest in `out`, or synthetic videos if there are none."""
    if rows:
        manifest, annotations = write_rows(storage.join(out, "manifest.parquet"), rows, MANIFEST), None
    else:
        update("writing videos")
        manifest, annotations, _ = SHAPES.write(storage.join(out, "data"))
    options = {"checkpoint": config.checkpoint or BUNDLED, "allow_local": bool(rows)}
    segmented = segment.run(segment.SegmentConfig(manifest=manifest, run=storage.join(out, "run"), **options))
    update("auditing the run")
    audited = audit.run(audit.AuditConfig(run=segmented.run, manifest=manifest))
    scored = reported = None
    if annotations is not None:
        scores, by = storage.join(out, "scores"), ("kind", "size", "unseen")
        update("scoring")
        scored = evaluate.run(
            evaluate.EvaluateConfig(predictions=segmented.run, annotations=annotations, out=scores, by=by)
        )
        update("writing the report")
        reported = report.run(report.ReportConfig(scores=scores, out=storage.join(out, "report")))
    picture, film = storage.join(out, "masks.png"), storage.join(out, "masks.mp4")
    is_drawn = draw_run(segmented.run, annotations, picture, film, count("frames drawn"))
    return DemoResult(
        out=out,
        picture=picture if is_drawn else None,
        film=film if is_drawn else None,
        segmented=replace(segmented, bound=None),  # which advises options that this command does not have
        audited=audited,
        scored=scored,
        reported=reported,
        next_command=None if rows else _own_video_command(manifest),
    )


def _own_video_command(manifest: str) -> str:
    """Return a command that can be pasted: the demo on the first video of `manifest`, with this `rvos`."""
    row = parquet.read_table(manifest, ["video_uri", "expression"]).slice(0, 1).to_pylist()[0]
    video, program = storage.absolute(row["video_uri"], storage.parent(manifest)), "rvos"
    if shutil.which(program) != sys.argv[0] and Path(sys.argv[0]).name == program:
        program = sys.argv[0]
    return shlex.join([program, "demo", "--out", "demo-own", "--video", video, "--expression", row["expression"]])


def _rows_of(video: str, expressions: tuple[str, ...]) -> list[dict]:
    """Return the rows of a manifest for these expressions about a video."""
    uri = storage.absolute(video)
    common = {"video_id": Path(uri).stem or "video", "video_uri": uri}
    return [
        common | {"expression_id": str(number), "expression": expression}
        for number, expression in enumerate(expressions)
    ]


def _require_kept(config: DemoConfig, out: str) -> None:
    """Raise InputError if the video or the checkpoint is among the files of an earlier demo, which are removed."""
    removed = [_real(storage.join(out, name)) for name in (*FOLDERS, *FILES)]
    for label, given in (("--video", config.video), ("--checkpoint", config.checkpoint)):
        place = "" if given is None else _real(storage.absolute(given.rpartition("::")[2]))  # of a member: its archive
        if any(f"{place}/".startswith(f"{each}/") for each in removed):
            raise InputError(f"{label} {given} is in {out}, whose files the demo replaces; choose another --out")


def _real(path: str) -> str:
    """Return a path without links, a URI as it is."""
    return path if storage.is_remote(path) else os.path.realpath(path)


def _require_usable(rows: list[dict], config: DemoConfig) -> None:
    """Raise InputError for whatever would make an error row: the whole video is decoded."""
    with private_folder() as folder:
        manifest, checkpoint = write_rows(f"{folder}/manifest.parquet", rows, MANIFEST), config.checkpoint or BUNDLED
        found = check.run(check.CheckConfig(manifest=manifest, checkpoint=checkpoint, decode=True)).findings
    if found:
        raise InputError(f"--video {config.video}: {found[0].problem}")
