"""The evaluation protocols: which frames are scored, how masks are matched and values averaged, and the source.

To add a protocol, add an entry to the list. This module is data that `cli.py` imports, so it imports nothing heavy.
`pair_metrics.METRICS` defines the metrics; `rvos evaluate --explain NAME` prints `Protocol.explain`.
"""

import textwrap
from dataclasses import dataclass
from typing import Literal

Missing = Literal["zero", "empty", "error", "skip"]
PRECISION_AT = (0.5, 0.6, 0.7, 0.8, 0.9)
WITH_DECAY = ("J&F", "J", "F", "J-recall", "J-decay", "F-recall", "F-decay")
NO_TARGET = ("N-acc", "T-acc")
SAMPLES = ("overall IoU", "mean IoU", *(f"P@{k}" for k in PRECISION_AT))

MISSING = {
    "zero": "frames without a prediction score zero",
    "empty": "frames without a prediction count as empty masks",
    "error": "evaluation fails if any frame has no prediction",
    "skip": "frames without a prediction are left out",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """One way to score a data set. The defaults are those of `all-frames`."""

    name: str
    title: str
    source: str
    metrics: tuple[str, ...] = ("J&F", "J", "F", *NO_TARGET)  # in the order shown; mAP is over all samples
    inner_frames: bool = False  # exclude the first and the last annotated frame
    present_frames: bool = False  # score only frames that show the target
    void: bool = True  # pixels of void.parquet are background in both masks
    first_frame_objects: bool = False  # exclude labels above the highest one in the first annotated frame
    assigned: bool = False  # assign the predictions of a video and annotator to its objects, for the best total
    missing: Missing = "zero"  # default of --missing
    mean_over: str | None = None  # a column: average within each of its values, then over them
    mean_of: tuple[int, ...] = ()  # the values to average over; empty: all
    per_frame: bool = False  # all frames weigh the same, otherwise all pairs
    unconfirmed: str = ""  # the part of the definition that could not be checked; empty: confirmed
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """The metrics that tables show in columns, the main one first."""
        return self.metrics[:3]

    def explain(self) -> str:
        """Describe the protocol in lines of up to 80 columns."""
        frames = "all annotated frames that the pair requests"
        if self.inner_frames:
            frames = "all annotated frames but the first and the last"
        elif self.present_frames:
            frames += ", if they show its target"
        matching = "as given: a pair with the union of its objects"
        if self.assigned:
            matching = (
                "predictions of one video and annotator to its objects by the best total of (mean J + mean F) / 2"
            )
        if self.first_frame_objects:
            matching += "; objects labelled above the highest label of the first annotated frame are excluded"
        averaging = "over frames" if self.per_frame else "over the frames of a pair, then over pairs with equal weights"
        if self.mean_over:
            averaging += f", within each {self.mean_over}; then over those"
        lines = [f"{self.name}: {self.title}", ""]
        for label, text in (
            ("frames", frames),
            ("void", "void pixels are background in both masks" if self.void else "void pixels count like any other"),
            ("matching", matching),
            ("averaging", averaging),
            ("metrics", ", ".join(self.metrics)),
            ("missing", f"{MISSING[self.missing]}; --missing changes it"),
            ("source", self.source),
            ("definition", f"not confirmed: {self.unconfirmed}" if self.unconfirmed else "confirmed"),
            *(("note", note) for note in self.notes),
        ):
            wrapped = textwrap.wrap(text, 68, break_long_words=False, break_on_hyphens=False)
            lines += [f"{label:<12}{wrapped[0]}", *(" " * 12 + line for line in wrapped[1:])]
        return "\n".join(lines)


_FRAME_METRICS = "J and F of a frame equal the DAVIS 2017 evaluation to the last bit"
_NO_TARGET_UNCONFIRMED = "N-acc and T-acc of videos; the definition of GRES is used, by expression"
_NO_TARGET_NOTE = "an expression without a target has J = F = 1 in a frame where nothing is predicted, else 0"
_IOU_NOTE = (
    "the candidate with the highest score is scored, among equal ones the last in file order; IoU is (I + 1e-6) / (U + "
    "1e-6) in single precision, P@k the share of frames strictly above k, mAP that of COCO over all candidates"
)

_ALL = (
    Protocol(
        name="all-frames",
        title="all annotated frames, mean over pairs",
        source=f"this project; {_FRAME_METRICS}",
        notes=(_NO_TARGET_NOTE,),
    ),
    Protocol(
        name="davis-semisupervised",
        title="DAVIS 2016/2017, semi-supervised",
        source="davis2017-evaluation, task semi-supervised",
        metrics=WITH_DECAY,
        inner_frames=True,
        void=False,
        first_frame_objects=True,
        missing="empty",
        notes=(
            "recall is the share of frames above 0.5; decay is the mean of the first quarter minus that of the last",
            "the published code computes decay with 8-bit frame numbers, which wrap at 256; this one does not",
            "tracks of one or two frames have no value and are left out",
        ),
    ),
    Protocol(
        name="ref-davis17",
        title="Ref-DAVIS17 as published, predictions assigned to objects",
        source="davis2017-evaluation, task unsupervised, per annotator, then the mean",
        metrics=WITH_DECAY,
        first_frame_objects=True,
        assigned=True,
        missing="empty",
        mean_over="annotator",
        notes=(
            "the assignment forgives swapped expressions; ref-davis17-strict does not",
            "the annotator is that of the manifest, else the expression number modulo four, as published",
            "overlapping masks of one annotator are scored unchanged; the published code merges probabilities first",
        ),
    ),
    Protocol(
        name="ref-davis17-strict",
        title="Ref-DAVIS17, each expression with its own object",
        source="as ref-davis17, without the assignment",
        metrics=WITH_DECAY,
        first_frame_objects=True,
        missing="empty",
        mean_over="annotator",
    ),
    Protocol(
        name="ref-youtube-vos",
        title="Ref-YouTube-VOS, validation or test server",
        source=f"server, as described for the data set; {_FRAME_METRICS}",
        unconfirmed="neither the server's code nor its ground truth is public",
    ),
    Protocol(
        name="mevis",
        title="MeViS",
        source="MeViS, tools/eval_mevis.py",
        unconfirmed=_NO_TARGET_UNCONFIRMED,
        notes=(
            _NO_TARGET_NOTE,
            "the published script silently drops an expression that lacks a frame; here --missing decides",
        ),
    ),
    Protocol(
        name="a2d",
        title="A2D-Sentences",
        source="metrics.py of MTTR and ReferFormer; pycocotools COCOeval for mAP",
        metrics=(*SAMPLES, "mAP"),
        present_frames=True,
        per_frame=True,
        notes=(_IOU_NOTE, "the published code fails for a frame without a prediction; here --missing decides"),
    ),
    Protocol(
        name="jhmdb",
        title="JHMDB-Sentences",
        source="metrics.py of MTTR and ReferFormer; pycocotools COCOeval for mAP",
        metrics=(*SAMPLES, "mAP"),
        present_frames=True,
        per_frame=True,
        notes=(_IOU_NOTE,),
    ),
    Protocol(
        name="revos",
        title="ReVOS",
        source="VISA, metric functions of its evaluation",
        metrics=("J&F", "J", "F", "A", "R"),
        mean_over="type_id",
        mean_of=(0, 1),
        notes=(
            "overall is the mean of the means of referring (type_id 0) and reasoning (1) expressions; those without a "
            "target (2) are excluded, as in the published script",
            "A is the share of equal pixels; R = max(0, 1 - wrongly marked / (foreground + 1e-6)) needs a table "
            "foreground.parquet next to the annotations and is omitted without it",
            "the published script feeds A and R with 0/255 masks in 8-bit arithmetic, and rounds each expression to "
            "two decimals; this one does neither",
        ),
    ),
    Protocol(
        name="long-rvos",
        title="Long-RVOS",
        source="Long-RVOS, eval_static.py",
        metrics=("J&F", "J", "F", "tIoU", "vIoU"),
        missing="empty",
        notes=(
            "tIoU = frames where both masks are non-empty / frames where either is",
            "vIoU = sum of J over the former / number of the latter; both are 1 if there is no such frame",
            "the published table separates static, dynamic and hybrid expressions: use --by with that column",
        ),
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}

# Columns of the score tables, whose names no attribute may have.
RESERVED = {"row", "object_id", "metric", "value", "frame_index", "frames", "missing_frames", "status", "error"}
RESERVED |= {name for protocol in _ALL for name in protocol.metrics}
