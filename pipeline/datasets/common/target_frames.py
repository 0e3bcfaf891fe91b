"""The published way to score single annotated frames: each by itself, with a few frames around it as context."""

from collections.abc import Callable

from pipeline.datasets.common.dataset_video import DatasetVideo, pair_name

NO_TARGETS = "pairs without target frames; --context changes nothing for them"


def around_targets(
    pairs: list[dict], context: int, place: Callable[[str], int], found: DatasetVideo, length: int | None = None
) -> list[dict]:
    """One pair for each target frame, with the `context` frames that have it in their middle.

    As in the published loaders there are context // 2 frames before it. At the ends of the video, where they repeat the
    outermost frame, there are fewer instead. `place` is the 0-based place of a frame by its name; `length` is how many
    frames the loader takes the video to have, if not all.
    """
    several = []
    for pair in pairs:
        if not pair["target_frames"]:
            found.warnings.append((NO_TARGETS, pair_name(pair)))
            several.append(pair)
            continue
        for name in pair["target_frames"]:
            middle = place(name)
            end = middle + (context + 1) // 2
            end = max(min(end, length or pair["num_frames"] or end), middle + 1)
            window = list(range(max(middle - context // 2, 0), end))
            number = f"{pair['expression_id']}_{name}"
            several.append(pair | {"expression_id": number, "frame_indices": window, "target_frames": [name]})
    return several
