"""Find out whether the labels of label maps are the objects that the other side knows."""

from collections.abc import Collection, Iterable, Mapping

from pipeline.masks.frame_numbers import is_number

ObjectsByVideo = Mapping[str, Collection[str]]


def label_mismatch(labels: ObjectsByVideo, objects: ObjectsByVideo) -> str | None:
    """Return why the labels are hardly ids of these objects, with an example of both sides; None if they may be.

    Videos that only one side knows say nothing. Objects that no label shows may have been missed, and labels without an
    object may be of others; only both together, for most, are a mismatch.
    """
    shared = [video for video in sorted(labels) if labels[video] and objects.get(video)]
    known = {video: (set(labels[video]), set(objects[video])) for video in shared}
    for video, (of_masks, of_video) in known.items():
        if of_masks.isdisjoint(of_video):
            return f"no label of the masks is an object ({_sides(video, of_masks, of_video)})"
    for video, (of_masks, of_video) in known.items():
        common = len(of_masks & of_video)
        if len(of_masks - of_video) > common and len(of_video - of_masks) > common:
            return f"most labels of the masks are no objects ({_sides(video, of_masks, of_video)})"
    return shifted_labels(labels, objects)


def shifted_labels(
    labels: ObjectsByVideo, objects: ObjectsByVideo, what: str = "labels", of: str = "objects"
) -> str | None:
    """Return by how much all labels differ from the objects, with an example of both sides; None if they do not.

    what, of: the words for both.
    """
    shared = [video for video in sorted(labels) if labels[video] and objects.get(video)]
    shifts = {_shift(set(labels[video]), set(objects[video])) for video in shared}
    if len(shifts) == 1 and (shift := shifts.pop()):
        sides = _sides(shared[0], labels[shared[0]], objects[shared[0]], of)
        return f"all {what} of the masks differ by {shift:+} from the {of} ({sides})"
    return None


def _shift(labels: set[str], objects: set[str]) -> int:
    """Return by how much each label differs from an object; 0 if they are equal or differ in another way."""
    if len(labels) != len(objects) or not all(map(is_number, labels | objects)):
        return 0
    pairs = zip(sorted(map(int, labels)), sorted(map(int, objects)), strict=True)
    differences = {label - object_id for label, object_id in pairs}
    return differences.pop() if len(differences) == 1 else 0


def _sides(video: str, labels: Iterable[str], objects: Iterable[str], of: str = "objects") -> str:
    return f"in {video}: {shorten_list(labels)}; its {of}: {shorten_list(objects)}"


def shorten_list(ids: Iterable[str]) -> str:
    """Return the first few of some ids, as text."""
    in_order = sorted(ids, key=lambda one: (len(one), one))
    return ", ".join(in_order[:5]) + (" ..." if len(in_order) > 5 else "")
