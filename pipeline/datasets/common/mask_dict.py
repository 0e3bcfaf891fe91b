"""`mask_dict.json` of MeViS and ReVOS: {ANNOTATION: [RLE or null for each frame that the video lists]}."""

from collections.abc import Iterable

from pipeline.datasets.common import json_file
from pipeline.datasets.common.dataset_video import pair_name
from pipeline.datasets.common.meta_expressions import ListedVideo
from pipeline.datasets.common.object_masks import ObjectMasks
from schemas.errors import InputError

NOT_IN_FILE = "expressions about an annotation that mask_dict.json lacks; download it again"
NOTHING = "none"  # id of a stand-in where no sentence has a target, so that the frames count as annotated


class MaskDict:
    """The masks of each annotation, copied once from the JSON file to a temporary one."""

    def __init__(self, uri: str):
        """Raises InputError if the file is not valid JSON or not of the form above."""
        self.uri = uri
        self._masks = json_file.SpooledEntries()
        for path, masks in json_file.entries(uri):
            if not path or not isinstance(path[0], str):
                raise InputError(f"{uri} must be an object {{ANNOTATION: [RLE or null, ...]}}; download it again")
            self._masks.add(path[0], masks)
        if not self._masks:
            raise InputError(f"{uri} holds no annotations; download it again")

    def require_common(self, entries: Iterable[tuple[str, dict]]) -> None:
        """Raise InputError if the file lacks every annotation that these videos of `meta_expressions` mean."""
        expressions = (one for _, entry in entries for one in entry["expressions"].values())
        first = None
        for expression in expressions:
            ids = expression.get("anno_id")
            for object_id in map(str, ids if isinstance(ids, list) else () if ids is None else (ids,)):
                if object_id in self._masks:
                    return
                first = first or object_id
        if first is not None:
            text = (
                f"has no mask of any annotation that the sentences mean, such as {first}; is it that of another split?"
            )
            raise InputError(f"{self.uri} {text}")

    def add_to(self, listed: ListedVideo) -> None:
        """Fill in the annotations of the objects that the pairs mean. Pairs with an object that the file lacks are left
        out: nobody knows where it is.
        """
        video = listed.video
        lost = {
            pair["expression_id"]: [object_id for object_id in pair["object_ids"] or () if object_id not in self._masks]
            for pair in video.pairs
        }
        gone = [(pair_name(pair), lost[pair["expression_id"]]) for pair in video.pairs]
        video.skipped += [(NOT_IN_FILE, f"{place} annotation {ids[0]}") for place, ids in gone if ids]
        video.pairs = [pair for pair in video.pairs if not lost[pair["expression_id"]]]
        objects = video.object_ids()
        if not objects and any(pair["object_ids"] == [] for pair in video.pairs):
            objects = {NOTHING}
        object_masks = ObjectMasks(video, listed.sequence, frame_size=listed.frame_size() if objects else None)
        for object_id in sorted(objects, key=lambda object_id: (len(object_id), object_id)):
            masks = [None] * len(listed.names) if object_id == NOTHING else self._masks[object_id]
            place = f"{self.uri} annotation {object_id}"
            object_masks.add_list(object_id, listed.names, masks, place)
        video.check_objects(object_masks.seen)
        video.annotations = object_masks.annotations()
