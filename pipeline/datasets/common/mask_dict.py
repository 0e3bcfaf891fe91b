"""`mask_dict.json` of MeViS and ReVOS: {ANNOTATION: [RLE or null for each frame that the video lists]}."""

from pipeline.datasets.common import json_file
from pipeline.datasets.common.meta_expressions import Listing
from pipeline.datasets.common.tracks import Tracks
from pipeline.io import storage
from schemas.errors import InputError

NOTHING = "none"  # stands in a video whose sentences all mean nothing, so that its frames count as annotated


class MaskDict:
    """Where the masks of each annotation stand in the file, which is scanned once and never held."""

    def __init__(self, uri: str):
        """Raises InputError if the file is not sound JSON, or not of the form above."""
        self.uri = uri
        entries = [(entry.path[0], (entry.start, entry.end)) for entry in json_file.entries(uri) if entry.path]
        if not entries or not all(isinstance(key, str) for key, _ in entries):
            raise InputError(f"{uri} holds no masks by annotation; bring the file of the data set")
        self._places = {str(key): place for key, place in entries}

    def add_to(self, video: Listing) -> None:
        """Fill in the annotations of the objects that the pairs of a video mean; those not in the file are absent."""
        found = video.found
        objects = {object_id for pair in found.pairs for object_id in pair["object_ids"] or ()}
        if not objects and any(pair["object_ids"] == [] for pair in found.pairs):
            objects = {NOTHING}
        tracks = Tracks(found, video.sequence, frames=video.frame_size() if objects else None)
        there = sorted(objects & self._places.keys(), key=lambda object_id: self._places[object_id])
        for object_id in objects - self._places.keys():
            for name in video.listed:
                tracks.add(object_id, name, None)
        with storage.open_input(self.uri) as file:
            for object_id in there:
                masks = json_file.read_entry(file, *self._places[object_id])
                if not isinstance(masks, list) or len(masks) != len(video.listed):
                    have = len(masks) if isinstance(masks, list) else "no list of"
                    found.problems.append(
                        f"{self.uri} annotation {object_id}: {have} masks for {len(video.listed)} frames"
                    )
                    continue
                for name, mask in zip(video.listed, masks, strict=True):
                    tracks.add_coco(object_id, name, mask)
        found.check_objects(tracks.seen)
        found.annotations = tracks.annotations()
