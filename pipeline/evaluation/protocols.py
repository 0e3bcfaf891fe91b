"""The evaluation protocols: which frames are scored, how masks are matched and values averaged, and the source.

To add a protocol, add an entry to the list. This module is data that `cli.py` imports, so it imports nothing heavy.
`pair_metrics.METRICS` defines the metrics; `rvos evaluate --explain NAME` prints `Protocol.explain`.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from pipeline.evaluation.rules import Rules

MissingRule = Literal["zero", "empty", "error", "skip"]
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
    missing: MissingRule = "zero"  # default of --missing
    missing_pair_scores_zero: bool = False  # also with --missing empty, if no frame of a pair is predicted
    mean_over: str | None = None  # a column: average within each of its values, then over them
    mean_of: tuple[int, ...] = ()  # the values to average over; empty: all
    per_frame: bool = False  # all frames weigh the same, otherwise all pairs
    unconfirmed: str = ""  # the part of the definition that could not be checked against published code
    own: bool = False  # this project defines it, so there is no other definition to check against
    notes: tuple[str, ...] = ()
    rules: Rules | None = None  # of the published inference

    @property
    def confirmed(self) -> bool:
        """True if the definition is that of published code, and was checked against it in all its parts."""
        return not (self.own or self.unconfirmed)

    @property
    def shown(self) -> tuple[str, ...]:
        """The metrics that tables show in columns, the main one first."""
        return self.metrics[:3]

    def explain(self) -> str:
        """Describe the protocol in lines of up to 80 columns."""
        lines = [f"{self.name}: {self.title}", ""]
        for label, text in self.parts():
            wrapped = textwrap.wrap(text, 68, break_long_words=False, break_on_hyphens=False)
            lines += [f"{label:<12}{wrapped[0]}", *(" " * 12 + line for line in wrapped[1:])]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return name, title and the parts of the description; notes and rules are lists."""
        document: dict[str, Any] = {"name": self.name, "title": self.title}
        for label, text in self.parts():
            if label in ("note", "rules"):
                document.setdefault({"note": "notes"}.get(label, label), []).append(text)
            else:
                document[label] = text
        return document | {"metrics": list(self.metrics)}

    def parts(self) -> list[tuple[str, str]]:
        """Describe the protocol, as pairs of a label and a text."""
        frames = "the annotated frames among those that the pair has"
        if self.inner_frames:
            frames += "; the first and the last of them are left out"
        elif self.present_frames:
            frames += "; frames that do not show the target are left out"
        matching = "each prediction is compared with the union of the pair's objects"
        if self.assigned:
            matching = (
                "the predictions for one video and annotator are assigned to its objects such that the total of "
                "(mean J + mean F) / 2 is highest; each prediction has the number of the object that its pair is "
                "about, and empty predictions take part for the numbers that have none, up to the highest number or "
                "the number of objects"
            )
        if self.first_frame_objects:
            matching += (
                "; only objects count whose id is at most the highest id in the first annotated frame of the video; a "
                "lower id that no frame shows counts as an object that is absent throughout"
            )
        averaging = "mean over the frames of a pair, then over "
        if self.per_frame:
            averaging = "all frames of all pairs have the same weight"
        elif self.mean_over:
            averaging += f"the pairs of each {self.mean_over}, then over these means"
        else:
            averaging += "all pairs"
        missing = f"{MISSING[self.missing]}; --missing changes it"
        if self.missing_pair_scores_zero:
            missing += "; a pair of which no frame is predicted scores zero also with --missing empty"
        void = "void pixels are set to background in prediction and ground truth"
        definition = f"not confirmed: {self.unconfirmed}" if self.unconfirmed else "checked against published code"
        if self.rules and not self.unconfirmed:
            definition += f"; to segment as published, use rvos segment --rules {self.name}"
        return [
            ("frames", frames),
            ("void", void if self.void else "void pixels are scored like all others"),
            ("matching", matching),
            ("averaging", averaging),
            ("metrics", ", ".join(self.metrics)),
            ("missing", missing),
            ("source", self.source),
            *(() if self.own else [("definition", definition)]),
            *(("note", note) for note in self.notes),
            *(("rules", text) for text in self._explain_rules()),
        ]

    def _explain_rules(self) -> Iterator[str]:
        if self.rules:
            yield f"of the published inference ({self.rules.source}), set by rvos segment --rules {self.name}:"
            yield from self.rules.explain()


_FRAME_METRICS = "if an expression has a target, J and F equal the DAVIS 2017 evaluation to the last bit"
_NO_TARGET_NOTES = (
    "for an expression without a target, a frame with an empty prediction has J = F = 1, any other frame 0; published "
    "code has F = 1 there also if the prediction fills the frame, since such a mask has no boundary",
    "N-acc is the share of expressions without a target whose masks are all empty; T-acc is the share of "
    "expressions with a target for which at least one predicted mask is not empty",
)
_IOU_NOTES = (
    "if a frame has several candidates (masks of several object queries), the one with the highest score is scored; "
    "among equal scores, the last in file order",
    "IoU = (I + 1e-6) / (U + 1e-6) in single precision, with the intersection I and the union U of both masks in a "
    "frame; overall IoU = sum of I / sum of U; mean IoU is the mean over frames",
    "P@k is the share of frames with IoU > k",
    "mAP is the AP of COCO, at IoU 0.5 to 0.95, over all candidates of all frames; the published mAP needs all object "
    "queries as candidates (--candidates all, or the rules), not the chosen one alone",
)
_SENTENCES_RULES = Rules(
    source="ReferFormer, main.py --eval",
    window="5",
    max_size=640,
    candidates="all",
    context=True,
    pad_to=32,
    lower_case=True,
    nearest=True,
    notes=(
        "the authors evaluate batches of two samples, which are padded to the larger one, so their numbers change a "
        "little; rvos gives the numbers of batch size 1",
    ),
)
_NOT_RECORDED = (
    "not compared with masks of the authors' scripts, for lack of such masks; those of a2d, with the same rules, agree"
)

_ALL = (
    Protocol(
        name="all-frames",
        title="all annotated frames, mean over pairs",
        source=f"this project; {_FRAME_METRICS}",
        own=True,
        notes=_NO_TARGET_NOTES,
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
            "recall is the share of frames above 0.5; decay is the mean over the first quarter of the frames minus the "
            "mean over the last quarter",
            "the published code computes decay with 8-bit frame numbers, which restart at 0 after 255; rvos does not",
            "objects with only one or two annotated frames have no scored frame and are left out",
        ),
    ),
    Protocol(
        name="ref-davis17",
        title="Ref-DAVIS17 as published, predictions assigned to objects",
        source="davis2017-evaluation, task unsupervised: once for each annotator, then the mean",
        metrics=WITH_DECAY,
        first_frame_objects=True,
        assigned=True,
        missing="empty",
        mean_over="annotator",
        notes=(
            "the assignment gives full scores to predictions that swap two objects; ref-davis17-strict does not",
            "the annotator is the manifest column annotator or, without it, the expression_id modulo four, as "
            "published",
            "masks of one annotator may overlap here, unlike in the label maps of the published code; with rvos "
            "segment --rules ref-davis17 they do not overlap",
        ),
        rules=Rules(source="ReferFormer, inference_davis.py", window="36", exclusive=True),
    ),
    Protocol(
        name="ref-davis17-strict",
        title="Ref-DAVIS17, each expression with its own object",
        source="this project: ref-davis17 without the assignment",
        own=True,
        metrics=WITH_DECAY,
        first_frame_objects=True,
        missing="empty",
        mean_over="annotator",
    ),
    Protocol(
        name="ref-youtube-vos",
        title="Ref-YouTube-VOS, validation or test server",
        source=f"the evaluation server, as the data set describes it; {_FRAME_METRICS}",
        unconfirmed="neither the server's code nor its ground truth is public",
        notes=_NO_TARGET_NOTES,
        rules=Rules(source="ReferFormer, inference_ytvos.py", window="whole"),
    ),
    Protocol(
        name="mevis",
        title="MeViS",
        source="MeViS, tools/eval_mevis.py",
        unconfirmed="N-acc and T-acc, which rvos computes by expression, as GRES (Liu et al., 2023) does for images; "
        "J and F are checked",
        notes=(
            *_NO_TARGET_NOTES,
            "if a frame of an expression is not predicted, the published script leaves the expression out without a "
            "message; here --missing decides",
        ),
    ),
    Protocol(
        name="a2d",
        title="A2D-Sentences",
        source="metrics.py of MTTR and ReferFormer; pycocotools COCOeval for mAP",
        metrics=(*SAMPLES, "mAP"),
        present_frames=True,
        per_frame=True,
        notes=(*_IOU_NOTES, "the published code fails if a frame is not predicted; here --missing decides"),
        rules=_SENTENCES_RULES,
    ),
    Protocol(
        name="jhmdb",
        title="JHMDB-Sentences",
        source="metrics.py of MTTR and ReferFormer; pycocotools COCOeval for mAP",
        metrics=(*SAMPLES, "mAP"),
        present_frames=True,
        per_frame=True,
        notes=_IOU_NOTES,
        rules=replace(_SENTENCES_RULES, notes=(*_SENTENCES_RULES.notes, _NOT_RECORDED)),
    ),
    Protocol(
        name="revos",
        title="ReVOS",
        source="VISA, metric functions of its evaluation",
        metrics=("J&F", "J", "F", "A", "R"),
        unconfirmed="A and R (see the note on them); J and F are checked",
        mean_over="type_id",
        mean_of=(0, 1),
        notes=(
            "the overall score is the mean of two means: over the referring expressions (type_id 0) and over the "
            "reasoning expressions (type_id 1); expressions without a target (type_id 2) are left out, as published",
            "A is the share of pixels on which prediction and ground truth agree",
            "R = max(0, 1 - W / (G + 1e-6)): W is the number of predicted pixels outside the target, G the number of "
            "pixels of all annotated objects, from foreground.parquet next to the annotations; without it R is left "
            "out",
            "the published script computes A and R from masks of 0 and 255 in 8-bit arithmetic, and rounds the scores "
            "of each expression to two decimals; rvos does neither",
            "if a frame of an expression is not predicted, the published script scores the whole expression zero; here "
            "--missing decides, by default zero for that frame",
        ),
    ),
    Protocol(
        name="long-rvos",
        title="Long-RVOS",
        source="Long-RVOS, eval_static.py",
        metrics=("J&F", "J", "F", "tIoU", "vIoU"),
        missing="empty",
        missing_pair_scores_zero=True,
        notes=(
            "tIoU = B / E: B is the number of frames in which both masks are non-empty, E the number of frames in "
            "which at least one is; if E = 0, it is 1, or 0 if a frame that is not predicted scores zero",
            "vIoU = (sum of J over the B frames) / E; if E = 0, as tIoU",
            "the published table has separate rows for static, dynamic and hybrid expressions: use --by type",
        ),
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}
RULES = {protocol.name: protocol.rules for protocol in _ALL if protocol.rules}

MEAN_WEIGHT = "weight_in_mean"  # column of scores.parquet, of protocols that average over frames

# Columns of the score tables, whose names no attribute may have.
RESERVED = {"row", "object_id", "metric", "value", "frame_index", "frames", "missing_frames", "status", "error"}
RESERVED |= {"extra_frames", "extra_frame"}
RESERVED |= {MEAN_WEIGHT, *(name for protocol in _ALL for name in protocol.metrics)}
