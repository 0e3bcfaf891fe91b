"""Ref-DAVIS17: DAVIS 2017 with the sentences of two people, each once by the first frame and once by the whole video.

    ROOT/DAVIS/...                                          as in `davis`; or ROOT is DAVIS itself
    ROOT/davis_text_annotations/Davis17_annot1.txt          VIDEO OBJECT "SENTENCE" in each line
                                Davis17_annot1_full_video.txt, Davis17_annot2.txt, Davis17_annot2_full_video.txt

or the same after the usual conversion to the layout of Ref-YouTube-VOS. Either way a video's sentences are numbered
object by object, four for each. The number modulo four is the annotator of the published evaluation (0 and 1: the first
person, 2 and 3: the second; even ones by the first frame), the column `annotator`. `kind` is first-frame or full-video.
"""

import re
from collections.abc import Iterator

from pipeline.datasets import davis, ref_youtube_vos
from pipeline.datasets.common.dataset_video import VIDEOS_AT_ONCE, DatasetVideo
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from schemas.check import Problem, SchemaError
from schemas.errors import InputError

FILES = (
    "Davis17_annot1.txt",
    "Davis17_annot1_full_video.txt",
    "Davis17_annot2.txt",
    "Davis17_annot2_full_video.txt",
)
KINDS = ("first-frame", "full-video")
MISSPELT = {"clasic-car": "classic-car", "dog-scale": "dogs-scale", "motor-bike": "motorbike"}
SPLITS = {"2017/train": "train", "2017/val": "valid"}  # as the usual conversion names them
QUOTES = "\"'`\u201c\u201d\x93\x94"  # the last two are those of Windows, read as Latin-1
MAX_TEXT_BYTES = 2**24

NOT_FOUR = "videos without four sentences for each object, numbered object by object; their pairs have no annotator"
FEWER_TEXTS = "objects without a sentence by each annotator; the existing ones count"
SECOND_TEXT = "second sentences of one annotator for an object; the first one counts"

Texts = dict[str, dict[str, dict[int, str]]]  # video -> object -> number of the file -> sentence


def read(root: str, split: str | None = None) -> Iterator[DatasetVideo]:
    """Read one split, sorted by name. Raises InputError, with file and line, if the data set is missing or invalid."""
    root = storage.absolute(root)
    if ref_youtube_vos.has_layout(root):
        return map(_add_annotators, ref_youtube_vos.read(root, split))
    found = davis.find_split(root, "val" if split == "valid" else split, ("Annotations_unsupervised",))
    texts, duplicates = _read_texts(root)

    def read_video(video_id: str) -> DatasetVideo:
        listed = found.list_video(video_id)
        video = listed.video
        video.warnings += [(SECOND_TEXT, place) for of_video, place in duplicates if of_video == video_id]
        # Sorted as text ("10" before "2"), as the usual conversion does, so that numbers are the published ones.
        for position, (object_id, sentences) in enumerate(sorted(texts.get(video_id, {}).items())):
            if len(sentences) < len(FILES):
                video.warnings.append((FEWER_TEXTS, f"{video_id} object {object_id}"))
            category = found.categories.get(video_id, {}).get(object_id)
            video.pairs += [
                {
                    "video_id": video_id,
                    "video_uri": listed.uri,
                    "expression_id": str(4 * position + number),
                    "expression": sentence,
                    "num_frames": len(listed.sequence),
                    "object_ids": [object_id],
                    "split": SPLITS.get(found.name or ""),
                    "annotator": str(number),
                    "kind": KINDS[number % 2],
                    **({"category": category} if category else {}),
                }
                for number, sentence in sorted(sentences.items())
            ]
        video.check_texts()
        found.add_annotations(listed)
        return video

    return bounded_map(read_video, found.videos, VIDEOS_AT_ONCE)


def _add_annotators(video: DatasetVideo) -> DatasetVideo:
    """Add `annotator` and `kind` to the pairs of a video after the usual conversion."""
    numbers = [
        int(pair["expression_id"]) if re.fullmatch(r"[0-9]{1,6}", pair["expression_id"]) else -1 for pair in video.pairs
    ]
    groups: dict[int, list[tuple[int, tuple]]] = {}  # by object: annotator, and objects meant
    for pair, number in zip(video.pairs, numbers, strict=True):
        groups.setdefault(number // 4, []).append((number % 4, tuple(pair["object_ids"] or ())))
    four = all(len(group) == 4 and len({objects for _, objects in group}) == 1 for group in groups.values())
    if not four or -1 in groups:
        video.warnings.append((NOT_FOUR, video.video_id))
        return video
    for pair, number in zip(video.pairs, numbers, strict=True):
        pair.update(annotator=str(number % 4), kind=KINDS[number % 2])
    return video


def _read_texts(root: str) -> tuple[Texts, list[tuple[str, str]]]:
    """Read all sentences; also return (video, place) of second sentences by the same annotator."""
    inside = storage.join(root, "davis_text_annotations")
    folder = inside if storage.exists(inside) else root
    texts: Texts = {}
    duplicates: list[tuple[str, str]] = []
    problems = []
    for number, file in enumerate(FILES):
        uri = storage.join(folder, file)
        for line_number, line in enumerate(_read_lines(uri), 1):
            match = re.fullmatch(r"(\S+)\s+([0-9]{1,3})\s+(\S.*)", line.strip())
            if match is None:
                text = f'{line.strip()[:60]!r} must have the form VIDEO OBJECT "SENTENCE"'
                problems.append(Problem(uri, f"line {line_number}", text))
                continue
            video, object_id, sentence = match.groups()
            video = MISSPELT.get(video, video)
            words = " ".join(sentence.split())
            if len(words) > 1 and words[0] in QUOTES and words[-1] in QUOTES:
                words = words[1:-1].strip()
            of_object = texts.setdefault(video, {}).setdefault(object_id, {})
            if number in of_object:
                duplicates.append((video, f"{uri} line {line_number}"))
            of_object.setdefault(number, words)
    if problems:
        raise SchemaError(problems)
    return texts, duplicates


def _read_lines(uri: str) -> list[str]:
    """Lines of a text file in UTF-8 or, like those of the second annotator, Latin-1, without empty ones at the end."""
    try:
        content = storage.read_bytes(uri, limit=MAX_TEXT_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{uri} does not exist; Ref-DAVIS17 needs the texts of both annotators") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.rstrip().replace("\r\n", "\n").split("\n")
