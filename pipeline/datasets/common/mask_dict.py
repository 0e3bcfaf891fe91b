"""`mask_dict.json` of MeViS and ReVOS: {ANNOTATION: [RLE or null for each frame that the video lists]}."""

from pipeline.datasets.common import json_file
from pipeline.datasets.common.meta_expressions import ListedVideo
from pipeline.datasets.common.object_masks import ObjectMasks
from schemas.errors import InputError

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

    def add_to(self, listed: ListedVideo) -> None:
        """Fill in the annotations of the objects that the pairs mean; objects missing from the file are absent."""
        video = listed.video
        objects = video.object_ids()
        if not objects and any(pair["object_ids"] == [] for pair in video.pairs):
            objects = {NOTHING}
        object_masks = ObjectMasks(video, listed.sequence, frame_size=listed.frame_size() if objects else None)
        for object_id in sorted(objects, key=lambda object_id: (len(object_id), object_id)):
            masks = self._masks[object_id] if object_id in self._masks else [None] * len(listed.names)
            place = f"{self.uri} annotation {object_id}"
            object_masks.add_list(object_id, listed.names, masks, place)
        video.check_objects(object_masks.seen)
        video.annotations = object_masks.annotations()
