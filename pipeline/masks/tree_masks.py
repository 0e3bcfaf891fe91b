"""The masks of a tree of PNGs, in memory as RLE: predictions or annotations."""

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from pycocotools import mask as coco

from pipeline.masks.label_agreement import label_mismatch, shorten_list
from pipeline.masks.label_doubts import Ends, ring_problem, void_problem
from pipeline.masks.mask_values import (
    LUMA_IDS,
    SAVE_LABELS,
    MaskMeaning,
    ValueCounts,
    are_noise,
    differs,
    meaning_of_binary,
    meaning_of_labels,
)
from pipeline.masks.pairs_to_score import MaskKey, RequestedPair
from pipeline.masks.png_trees import PngReading, PngTree, TreeFrame, read_frame
from pipeline.masks.row_groups import RowGroup
from pipeline.masks.value_groups import VOID_ID
from schemas import rle
from schemas.errors import ImplausibleError, InputError
from schemas.masks import ANNOTATIONS, PREDICTIONS, VOID

MOST_SHOWN = 0.5  # share of all pixels; masks of objects show less
NO_OBJECT = ""  # as the id of an absent object, of videos whose label maps show none
ONLY_OBJECT = "1"  # id of the object of a tree that shows one, where nothing else names it
BY_EXPRESSION = pa.schema([PREDICTIONS.field(name) for name in ("video_id", "expression_id", *VOID.names[1:])])


@dataclass(frozen=True, slots=True)
class TreeMasks:
    """Every PNG of a tree, by video, or by video and expression, in order of frames; and what its values mean."""

    folder: str
    are_objects: bool
    frames: Mapping[tuple[str, ...], Sequence[TreeFrame]]
    meaning: MaskMeaning
    only_objects: Mapping[str, str] = field(default_factory=dict)  # id by video, where the maps show one object
    own: Mapping[tuple[str, ...], MaskMeaning] = field(default_factory=dict)  # where it is another than `meaning`
    size = 0  # in bytes: nothing that a worker would read

    @classmethod
    def read(cls, tree: PngTree, reading: PngReading) -> "TreeMasks":
        """Read all PNGs; some again, if the object in their gray does not begin at half of the full scale.

        Raises InputError if one cannot be read, or the values do not say what the object is.
        """
        found = cls.of(tree.folder, tree.are_objects, _by_folder(tree.read(reading)))
        found = found.cut_anew(lambda cuts: _by_folder(tree.only(cuts).read(reading, cuts)))
        return found.with_doubts()

    @classmethod
    def of(cls, folder: str, are_objects: bool, frames: Mapping[tuple[str, ...], Sequence[TreeFrame]]) -> "TreeMasks":
        """Find out what the values of these frames mean. A video of another form than most has its own meaning.

        Raises InputError if the values do not say what the object is.
        """
        meaning_of = meaning_of_labels if are_objects else meaning_of_binary
        counts = {path: count_values(of_path) for path, of_path in frames.items()}
        common, own = meaning_of(ValueCounts.sum(counts.values())), {}
        if common.problem and not are_objects and all(len(one.above) < 2 for one in counts.values()):
            text = f"{common.text}, one value in each folder, foreground is any value above 0"
            common = replace(common, problem=None, text=text)
        for path, of_path in counts.items():
            if of_path.above and differs(found := meaning_of(of_path), common, of_path):
                own[path] = found
        if own:
            common = meaning_of(ValueCounts.sum(counts[path] for path in counts if path not in own))
            first = min(own)
            text = f"{common.text}; of another form: {len(own)}, the first is {'/'.join(first)} ({own[first].text})"
            common = replace(common, text=text, usual=False)
        if common.problem:
            most = max(counts, key=lambda path: (len(counts[path].above), path))
            where = "/".join([folder, *most]) if len(counts) > 1 else folder
            raise InputError(f"{where}: {common.problem}. Found {common.text}")
        masks = cls(folder, are_objects, frames, common, own=own)
        if problem := masks._doubtful_labels() if are_objects else None:
            raise InputError(f"{folder}: {problem}. Found {common.text}")
        return masks

    def _doubtful_labels(self) -> str | None:
        """Return the first video whose values are hardly ids, although their number may be that of objects."""
        for path, frames in self.frames.items():
            if self._meaning_of(path).ids is None:
                continue
            ends, inner = Ends(), Counter[int]()
            for frame in frames:
                ends.update(frame.ends)
                inner.update(frame.inner or {})
            of_frames = ((frame.name, frame.height * frame.width, frame.pixels) for frame in frames)
            if problem := ring_problem(ends, inner) or void_problem(of_frames):
                return f"in {'/'.join(path)}, {problem}"
        return None

    def thresholds(self, paths: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
        """Return the least value of the object in those folders whose masks are soft."""
        found = {path: self._meaning_of(path).threshold for path in paths}
        return {path: threshold for path, threshold in found.items() if threshold is not None}

    def cut_anew(self, read: Callable[[Mapping[tuple[str, ...], int]], Mapping]) -> "TreeMasks":
        """Return the masks with the frames of those folders read again that were cut at another value than theirs.

        read: returns the frames of some folders, cut at these values.
        """
        thresholds = self.thresholds(self.frames)
        cuts = {
            path: threshold
            for path, threshold in thresholds.items()
            if any(len(frame.pixels) > 1 and frame.cut != threshold for frame in self.frames[path])
        }
        return replace(self, frames={**self.frames, **read(cuts)}) if cuts else self

    def cut_files_anew(self, path: tuple[str, ...], uri_of: Mapping[str, str]) -> "TreeMasks":
        """As `cut_anew`, of one folder whose files are given by frame name. Raises MediaError if one cannot be read."""

        def read(cuts: Mapping[tuple[str, ...], int]) -> dict[tuple[str, ...], list[TreeFrame]]:
            form = {"binary": not self.are_objects, "cut": cuts[path]}
            return {path: [read_frame(uri_of[one.name], one.index, **form) for one in self.frames[path]]}

        return self.cut_anew(read)

    def with_doubts(self) -> "TreeMasks":
        """Return the masks; the meaning says so if each shows one object, and that most of the pictures."""
        if self.are_objects and self.meaning.ids is not None and len(self.meaning.ids) > 1:
            return self
        void = VOID_ID if self.meaning.void else None
        least = self.meaning.threshold or 1
        frames = [*itertools.chain.from_iterable(self.frames.values())]
        shown = sum(
            count for frame in frames for value, count in frame.pixels.items() if value >= least and value != void
        )
        area = sum(frame.height * frame.width for frame in frames)
        if shown <= MOST_SHOWN * area:
            return self
        text = f"the masks cover {shown / area:.0%} of the pictures; are object and background exchanged?"
        return replace(self, meaning=replace(self.meaning, text=f"{self.meaning.text}; {text}"))

    def keys_by_video(self) -> dict[str, frozenset[str]]:
        """Return the objects or expressions of each video."""
        keys: dict[str, set[str]] = {}
        for (video, *expression), frames in self.frames.items():
            of_video = keys.setdefault(video, set())
            of_video.update(expression or (key for frame in frames for key in self._masks(video, frame)))
        return {video: frozenset(of_video) for video, of_video in keys.items()}

    def with_objects(self, known: Mapping[str, frozenset[str]]) -> "TreeMasks":
        """Return label maps whose values are ids of the objects of each video: if they are not, look for another
        meaning.

        A single value is the object of videos that have one. Gray of the DAVIS palette is its index. Raises
        ImplausibleError with an example of both sides if neither helps.
        """
        found = self.keys_by_video()
        shared = [video for video in sorted(found) if found[video] and known.get(video)]
        ids = self.meaning.ids
        mismatch = self._label_mismatch(known) or self._background_mismatch(known) or self._noise_mismatch(known)
        if not shared or (ids is not None and mismatch is None):
            return self._with_single_objects(known)
        if all(len(known[video]) == 1 for video in shared) and (ids is None or len(ids) == 1):
            only = {video: next(iter(known[video])) for video in shared}
            meaning = (
                self.meaning if ids is None else self.meaning.reread(None, "taken as the one object of each video")
            )
            return replace(self, meaning=meaning, only_objects=only)
        if ids is not None and ids.keys() <= LUMA_IDS.keys():
            by_luma = {value: str(LUMA_IDS[value]) for value in ids}
            reread = replace(self, meaning=self.meaning.reread(by_luma, "gray of the DAVIS palette, read as its ids"))
            if reread._label_mismatch(known) is None:
                return reread._with_single_objects(known)
        if ids is None:
            video = next(video for video in shared if len(known[video]) > 1)
            mismatch = f"the masks show one object, but {video} has several ({shorten_list(known[video])})"
        raise ImplausibleError(f"{self.folder}: {mismatch}. Found {self.meaning.text}")

    def _label_mismatch(self, known: Mapping[str, frozenset[str]]) -> str | None:
        """Return `label_mismatch` of the videos whose values are ids."""
        labels = {video: keys for video, keys in self.keys_by_video().items() if self._meaning_of((video,)).ids}
        return label_mismatch(labels, known)

    def _background_mismatch(self, known: Mapping[str, frozenset[str]]) -> str | None:
        """Return the video whose background is not 0: most of it is void; or no pixel is 0, some labels are no objects,
        and these, or one label alone, cover most of it.
        """
        found = self.keys_by_video()
        for path, frames in self.frames.items():
            meaning, video = self._meaning_of(path), path[0]
            area = sum(frame.height * frame.width for frame in frames)
            if not meaning.ids or not known.get(video):
                continue
            pixels = sum((Counter(frame.pixels) for frame in frames), Counter[int]())
            if meaning.void and pixels[VOID_ID] > MOST_SHOWN * area:
                share = pixels[VOID_ID] / area
                return f"255 (void) covers {share:.0%} of the masks of {video}; save the background as 0"
            unknown = [value for value in pixels if value in meaning.ids and meaning.ids[value] not in known[video]]
            most = max(sum(pixels[value] for value in unknown), *pixels.values(), 0)
            if unknown and most > MOST_SHOWN * area and pixels.total() == area:
                sides = f"in {video}: {shorten_list(found[video])}; its objects: {shorten_list(known[video])}"
                return f"no pixel of the masks is 0, the background ({sides})"
        return None

    def _noise_mismatch(self, known: Mapping[str, frozenset[str]]) -> str | None:
        """Return the first video whose unknown labels are specks and edges, if most videos have such."""
        shown, noisy = 0, list[str]()
        for path, frames in self.frames.items():
            ids, objects = self._meaning_of(path).ids, known.get(path[0])
            if not ids or not objects:
                continue
            counts = count_values(frames)
            shown += any(ids.get(value) in objects for value in counts.above)
            others = [value for value in counts.above if value in ids and ids[value] not in objects]
            if others and are_noise(counts, others):
                noisy.append(f"label {others[0]} of {path[0]}, which is no object, is only specks and edges")
        if not noisy or 2 * len(noisy) < shown:
            return None
        return f"{noisy[0]}, as a lossy codec leaves them ({len(noisy)} of {shown} videos have such); {SAVE_LABELS}"

    def _with_single_objects(self, known: Mapping[str, frozenset[str]]) -> "TreeMasks":
        """Return the masks, with the ids of the objects of those videos that show one, unlike others of the tree."""
        if not self.own:
            return self
        only = dict(self.only_objects)
        for (video, *_), meaning in self.own.items():
            if meaning.ids is None and (objects := known.get(video)):
                if len(objects) > 1:
                    text = f"the masks of {video} show one object, but it has several ({shorten_list(objects)})"
                    raise ImplausibleError(f"{self.folder}: {text}. Found {meaning.text}")
                only[video] = next(iter(objects))
        return replace(self, only_objects=only)

    def row_groups(self, requested: Collection[MaskKey] = ()) -> Iterator[tuple[RowGroup, list[MaskKey]]]:
        """Yield each video with its pairs; of label maps, those of `requested`."""
        keys: dict[str, list[MaskKey]] = {path[0]: [] for path in self.frames}
        rows: Counter[str] = Counter()
        for (video, *expression), frames in self.frames.items():
            rows[video] += len(frames)
            if expression:
                keys[video].append((video, expression[0]))
        for key in requested if self.are_objects else ():
            if key[0] in keys:
                keys[key[0]].append(key)
        for video in sorted(keys):
            if keys[video]:
                yield RowGroup(video, 0, rows[video]), keys[video]

    def read_rows(
        self, row_groups: Iterable[RowGroup], pairs: Sequence[RequestedPair], *, all_labels: bool = False
    ) -> pa.Table:
        """Return PREDICTIONS of `pairs`; of label maps with `all_labels`, of each label as if it were an expression."""
        rows: list[dict] = []
        for video, *_ in row_groups:
            of_video = [pair for pair in pairs if pair.video_id == video]
            if not self.are_objects:
                keys = [pair.key for pair in of_video if pair.key in self.frames]
                rows += [row for key in keys for row in self._rows(key, key, None)]
                continue
            names = {pair.key[1]: pair.object_ids for pair in of_video}
            if all_labels:
                names |= {label: (label,) for frame in self.frames[(video,)] for label in self._masks(video, frame)}
            rows += [row for name, objects in names.items() for row in self._rows((video,), (video, name), objects)]
        return pa.Table.from_pylist(rows, schema=PREDICTIONS)

    def annotations(self, objects: Collection[str] = ()) -> tuple[pa.Table, pa.Table | None]:
        """Return all masks as annotations, and the void pixels of label maps. `objects` have rows in any case."""
        if not self.are_objects:
            rows = [row for key in sorted(self.frames) for row in self._rows(key, (key[0], key[1]), None)]
            return pa.Table.from_pylist(rows, schema=BY_EXPRESSION), None
        keys, rows, void = self.keys_by_video(), [], []
        for (video,), frames in self.frames.items():
            masks = [self._masks(video, frame) for frame in frames]
            shown = {*keys[video], *objects}
            if not shown and any(keys.values()):
                shown = {NO_OBJECT}  # its frames are annotated, though without objects
            for object_id in sorted(shown, key=lambda object_id: (len(object_id), object_id)):
                rows += [
                    {"video_id": video, "object_id": object_id, **size_of(frame), "counts": of_frame.get(object_id)}
                    for frame, of_frame in zip(frames, masks, strict=True)
                ]
            if self._meaning_of((video,)).void:
                of_frames = ((frame, frame.strings.get(VOID_ID)) for frame in frames)
                void += [{"video_id": video, **size_of(frame), "counts": mask} for frame, mask in of_frames if mask]
        table = pa.Table.from_pylist(rows, schema=ANNOTATIONS)
        return table, pa.Table.from_pylist(void, schema=VOID) if void else None

    def binary_masks(self, path: tuple[str, ...]) -> Iterator[tuple[TreeFrame, bytes | None]]:
        """Yield the frames of one object with its RLE, None where it is absent."""
        for frame in self.frames.get(path, ()):
            yield frame, self._foreground(path, frame)

    def _rows(self, path: tuple[str, ...], key: MaskKey, objects: Collection[str] | None) -> Iterator[dict]:
        """Yield a row of PREDICTIONS for each frame: the union of some objects, or the mask of an expression."""
        for frame in self.frames[path]:
            if objects is None:
                found = [self._foreground(path, frame)]
            else:
                masks = self._masks(key[0], frame)
                found = [masks.get(object_id) for object_id in objects]
            counts = _union([counts for counts in found if counts], frame)
            yield {"video_id": key[0], "expression_id": key[1], **size_of(frame), "counts": counts}

    def _masks(self, video: str, frame: TreeFrame) -> dict[str, bytes]:
        """Return the RLE of each object that a label map shows."""
        ids = self._meaning_of((video,)).ids
        if ids is not None:
            return {ids[value]: counts for value, counts in frame.strings.items() if value in ids}
        counts = self._foreground((video,), frame)
        return {self.only_objects.get(video, ONLY_OBJECT): counts} if counts else {}

    def _meaning_of(self, path: tuple[str, ...]) -> MaskMeaning:
        return self.own.get(path, self.meaning)

    def _foreground(self, path: tuple[str, ...], frame: TreeFrame) -> bytes | None:
        """Return the RLE of the one object that a frame shows; None if it shows none."""
        meaning, strings = self._meaning_of(path), frame.strings
        if meaning.threshold is None:
            void = VOID_ID if meaning.void else None
            return next((mask for value, mask in strings.items() if value != void), None)
        if not frame.pixels or max(frame.pixels) < meaning.threshold:
            return None
        return next(iter(strings.values())) if frame.upper is None else frame.upper


def count_values(frames: Iterable[TreeFrame]) -> ValueCounts:
    """Return the pixels by value and the pixel formats of some frames."""
    counts = ValueCounts()
    for frame in frames:
        counts.pixels.update(frame.pixels)
        counts.pixels[0] += frame.height * frame.width - sum(frame.pixels.values())
        counts.formats.add(frame.pixel_format)
        counts.flat.update(frame.flat)
        if frame.inner is not None:
            counts.measured.update(frame.pixels)
            counts.inner.update(frame.inner)
    return counts


def _by_folder(read: Iterable[tuple[tuple[str, ...], TreeFrame]]) -> dict[tuple[str, ...], list[TreeFrame]]:
    frames: dict[tuple[str, ...], list[TreeFrame]] = {}
    for path, frame in read:
        frames.setdefault(path, []).append(frame)
    return frames


def size_of(frame: TreeFrame) -> dict:
    """Return the columns of a frame."""
    return {"frame_index": frame.index, "frame_name": frame.name, "height": frame.height, "width": frame.width}


def _union(masks: Sequence[bytes], frame: TreeFrame) -> bytes:
    """Return the union of masks; an empty mask without any."""
    if len(masks) < 2:
        return masks[0] if masks else rle.empty(frame.height, frame.width)
    merged: Any = coco.merge([{"size": [frame.height, frame.width], "counts": mask} for mask in masks])
    return merged["counts"]
