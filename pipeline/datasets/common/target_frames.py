"""The published way to score single annotated frames: each on its own, with a few frames around it as context."""

from collections.abc import Callable

from pipeline.datasets.common.dataset_video import DatasetVideo, pair_name

NO_TARGETS = "pairs without an annotated frame; with --context they have no sample, as in the published loaders"


def split_by_target(
    video: DatasetVideo, context: int, index_of: Callable[[str], int], length: int | None = None
) -> None:
    """Replace each pair by one per target frame, which is in the middle of `context` frames; skip pairs without any.

    As in the published loaders, context // 2 frames come before it. At the ends of the video, where these repeat the
    outermost frame, the pair has fewer frames. `index_of` gives the 0-based position of a frame name; `length` is the
    number of frames that the loader assumes, if not all.
    """
    pairs = []
    for pair in video.pairs:
        if not pair["target_frames"]:
            video.skipped.append((NO_TARGETS, pair_name(pair)))
            continue
        for name in pair["target_frames"]:
            middle = index_of(name)
            end = middle + (context + 1) // 2
            end = max(min(end, length or pair["num_frames"] or end), middle + 1)
            window = list(range(max(middle - context // 2, 0), end))
            number = f"{pair['expression_id']}_{name}"
            pairs.append(pair | {"expression_id": number, "frame_indices": window, "target_frames": [name]})
    video.pairs = pairs
