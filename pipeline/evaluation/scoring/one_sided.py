"""List what only the predictions or only the annotations have: videos, and of label maps, objects and values."""

from collections.abc import Mapping

from pipeline.masks.mask_values import VOID_ID
from pipeline.masks.predictions import Predictions
from pipeline.masks.tree_masks import TreeMasks

LISTED = 1000  # of each kind
SHOWN = 5


def only_on_one_side(
    source: Predictions,
    annotated: Mapping[str, frozenset[str]],
    known: Mapping[str, frozenset[str]],
    predicted_videos: frozenset[str],
) -> dict[str, dict[str, list]]:
    """Return {"predictions": {kind: list}, "annotations": {kind: list}}.

    annotated: `Annotations.keys_by_video`. known: objects of each video, of the annotations or the manifest. Kinds:
    videos; of label maps compared with objects also "objects" ([video, object] each) and "values" (those without
    meaning, such as 255 in predictions).
    """
    sides: dict[str, dict[str, list]] = {
        "predictions": {"videos": sorted(predicted_videos - annotated.keys())[:LISTED]},
        "annotations": {"videos": sorted(annotated.keys() - predicted_videos)[:LISTED]},
    }
    if isinstance(source, TreeMasks) and source.are_objects:
        predicted = source.keys_by_video()
        shared = sorted(predicted.keys() & known.keys())
        for name, here, there in (("predictions", predicted, known), ("annotations", known, predicted)):
            objects = [[video, object_id] for video in shared for object_id in sorted(here[video] - there[video])]
            sides[name]["objects"] = objects[:LISTED]
        if source.meaning.void:
            sides["predictions"]["values"] = [VOID_ID]
    return sides


def one_sided_lines(sides: Mapping[str, Mapping[str, list]]) -> list[str]:
    """Return a line of text for each kind that one side has alone."""
    lines = []
    for side, kinds in sides.items():
        for kind, found in kinds.items():
            if found:
                shown = ", ".join(" ".join(one) if isinstance(one, list) else str(one) for one in found[:SHOWN])
                more = f" ... ({len(found):,})" if len(found) > SHOWN else ""
                lines.append(f"{kind} only in the {side}: {shown}{more}")
    return lines
