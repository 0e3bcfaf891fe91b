"""The evaluation protocols by name: which frames count, what is matched with what, how it is averaged, and whence.

Data only. What the metric names mean is in `measures`; `explain` is what `rvos evaluate --explain NAME` prints.
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
    "zero": "what is not predicted scores zero",
    "empty": "what is not predicted counts as an empty mask",
    "error": "evaluation stops if anything is not predicted",
    "skip": "what is not predicted is left out",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """One way to score a data set. Everything not said is as in `all-frames`."""

    name: str
    title: str
    source: str
    metrics: tuple[str, ...] = ("J&F", "J", "F", *NO_TARGET)  # in the order shown; mAP is over all samples
    inner_frames: bool = False  # the first and the last annotated frame do not count
    present_frames: bool = False  # only frames in which the target is present count
    void: bool = True  # pixels of void.parquet are background in both masks
    first_frame_objects: bool = False  # only labels up to the highest in the first annotated frame count
    assigned: bool = False  # per video and annotator, predictions are assigned to objects for the best total
    missing: Missing = "zero"  # what --missing is unless given
    mean_over: str | None = None  # a column whose values weigh the same, each with its own mean
    mean_of: tuple[int, ...] = ()  # its values that count; empty: all
    per_frame: bool = False  # every frame weighs the same, else every pair
    unconfirmed: str = ""  # what of the definition could not be checked; empty: confirmed
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """The metrics that tables show side by side, the main one first."""
        return self.metrics[:3]

    def explain(self) -> str:
        """Everything above in words, for lines of 80 columns."""
        lines = [f"{self.name}: {self.title}", ""]
        for label, text in (
            ("frames", self._frames()),
            ("void", "void pixels are background in both masks" if self.void else "void pixels count as any other"),
            ("matching", self._matching()),
            ("averaging", self._averaging()),
            ("metrics", ", ".join(self.metrics)),
            ("missing", f"{MISSING[self.missing]}, unless --missing says otherwise"),
            ("source", self.source),
            ("definition", f"not confirmed: {self.unconfirmed}" if self.unconfirmed else "confirmed"),
            *(("note", note) for note in self.notes),
        ):
            wrapped = textwrap.wrap(text, 68, break_long_words=False, break_on_hyphens=False)
            lines += [f"{label:<12}{wrapped[0]}", *(" " * 12 + line for line in wrapped[1:])]
        return "\n".join(lines)

    def _frames(self) -> str:
        if self.inner_frames:
            return "all annotated frames but the first and the last"
        text = "all annotated frames that the pair was asked for"
        return f"{text} and in which its target is present" if self.present_frames else text

    def _matching(self) -> str:
        text = "as given: a pair with the union of its objects"
        if self.assigned:
            text = "predictions of one video and annotator to its objects by the best total of (mean J + mean F) / 2"
        if self.first_frame_objects:
            text += "; objects labelled above the highest label of the first annotated frame do not count"
        return text

    def _averaging(self) -> str:
        text = "over frames" if self.per_frame else "over the frames of a pair, then over pairs, all weighing the same"
        return f"{text}, within each {self.mean_over}; then over those" if self.mean_over else text


_FRAME_MEASURES = "J and F of a frame are those of the DAVIS 2017 evaluation, to the last bit"
_NO_TARGET_UNCONFIRMED = "N-acc and T-acc of videos; used is the definition of GRES, by expression"
_NO_TARGET_NOTE = "an expression without a target has J = F = 1 in a frame where nothing is predicted, else 0"
_IOU_NOTE = (
    "of several candidates the one with the highest score counts, of equal ones the last in file order; IoU is "
    "(I + 1e-6) / (U + 1e-6) in single precision, P@k the share strictly above k; mAP is that "
    "of COCO over all candidates"
)

_ALL = (
    Protocol(
        name="all-frames",
        title="all annotated frames, mean over pairs",
        source=f"this project; {_FRAME_MEASURES}",
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
            "recall is the share of frames above 0.5; decay is the mean of the first quarter less that of the last",
            "frame numbers of the decay are whole; the published code keeps them in 8 bits, which wrap at 256",
            "a track of one or two frames has no value and is left out",
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
            "annotators are the manifest's column; without it, expression number modulo four, as published",
            "masks of one annotator that overlap are scored as they are; the published code merges probabilities first",
        ),
    ),
    Protocol(
        name="ref-davis17-strict",
        title="Ref-DAVIS17, each expression by the object that it means",
        source="as ref-davis17, but for the matching",
        metrics=WITH_DECAY,
        first_frame_objects=True,
        missing="empty",
        mean_over="annotator",
    ),
    Protocol(
        name="ref-youtube-vos",
        title="Ref-YouTube-VOS, validation or test server",
        source=f"server, as described for the data set; {_FRAME_MEASURES}",
        unconfirmed="neither the server's code nor its ground truth is public",
    ),
    Protocol(
        name="mevis",
        title="MeViS",
        source="MeViS, tools/eval_mevis.py",
        unconfirmed=_NO_TARGET_UNCONFIRMED,
        notes=(
            _NO_TARGET_NOTE,
            "the published script drops an expression that lacks a frame without a word; here --missing decides",
        ),
    ),
    Protocol(
        name="a2d",
        title="A2D-Sentences",
        source="metrics.py of MTTR and ReferFormer; pycocotools COCOeval for mAP",
        metrics=(*SAMPLES, "mAP"),
        present_frames=True,
        per_frame=True,
        notes=(_IOU_NOTE, "the published code fails for a frame without prediction; here --missing decides"),
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
            "target (2) do not count, as in the published script",
            "A is the share of equal pixels; R = max(0, 1 - wrongly marked / (foreground + 1e-6)) needs a table "
            "foreground.parquet beside the annotations and is left out without it",
            "the published script feeds A and R with 0/255 masks in 8-bit arithmetic, and rounds each expression to "
            "two decimals; neither is done here",
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
            "the published table has static, dynamic and hybrid expressions apart: --by the column that says which",
        ),
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}

# Names that no attribute may have, since the tables of scores have them.
RESERVED = {"row", "object_id", "metric", "value", "frame_index", "frames", "missing_frames", "status", "error"}
RESERVED |= {name for protocol in _ALL for name in protocol.metrics}
