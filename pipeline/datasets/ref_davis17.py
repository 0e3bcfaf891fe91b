"""Ref-DAVIS17: DAVIS 2017 with the sentences of two people, each once by the first frame and once by the whole video.

    ROOT/DAVIS/...                                          as in `davis`; or ROOT is DAVIS itself
    ROOT/davis_text_annotations/Davis17_annot1.txt          VIDEO OBJECT "SENTENCE" in each line
                                Davis17_annot1_full_video.txt, Davis17_annot2.txt, Davis17_annot2_full_video.txt

or the same after the usual conversion to the layout of Ref-YouTube-VOS. Either way a video's sentences are numbered
object by object, four for each: number modulo four is the annotator of the published evaluation (0 and 1 the first
person, 2 and 3 the second; even ones by the first frame). It becomes the column `annotator`; `kind` says first-frame
or full-video.
"""

import re
from collections.abc import Iterator
from functools import partial

from pipeline.datasets import davis, ref_youtube_vos
from pipeline.datasets.common.dataset_video import VIDEOS_AT_ONCE, DatasetVideo, Published
from pipeline.datasets.davis import Layout
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

PUBLISHED = (
    Published("train", 60, None, "DAVIS 2017"),
    Published("valid", 30, 244, "the validation list of published loaders"),
)

NOT_FOUR = "videos whose sentences are not four for each object, numbered object by object; they get no annotator"
FEWER_TEXTS = "objects without a sentence of each annotator; the others count"
SECOND_TEXT = "second sentences of one annotator for an object; the first counts"

Texts = dict[str, dict[str, dict[int, str]]]  # video -> object -> number of the file -> sentence


def read(root: str, split: str | None = None) -> Iterator[DatasetVideo]:
    """All videos of one split, sorted by name. Raises InputError if there is no such data set, naming file and line."""
    root = storage.absolute(root)
    if ref_youtube_vos.is_there(root):
        return map(_with_annotators, ref_youtube_vos.read(root, split))
    split = "val" if split == "valid" else split
    layout = davis.find_layout(root, split, ("Annotations_unsupervised",))
    texts, second = _texts(root)
    return bounded_map(partial(_import_video, layout, texts, second), layout.videos, VIDEOS_AT_ONCE)


def _with_annotators(found: DatasetVideo) -> DatasetVideo:
    """The columns that follow from the numbers of a converted tree."""
    groups: dict[int, list[tuple]] = {}
    for pair in found.pairs:
        number = int(pair["expression_id"]) if re.fullmatch(r"[0-9]{1,6}", pair["expression_id"]) else -1
        groups.setdefault(number // 4, []).append((number % 4, tuple(pair["object_ids"] or ())))
    four = all(len(group) == 4 and len({objects for _, objects in group}) == 1 for group in groups.values())
    if not four or -1 in groups:
        found.warnings.append((NOT_FOUR, found.video_id))
        return found
    for pair in found.pairs:
        pair.update(_columns(int(pair["expression_id"]) % 4))
    return found


def _columns(annotator: int) -> dict[str, str]:
    return {"annotator": str(annotator), "kind": KINDS[annotator % 2]}


def _texts(root: str) -> tuple[Texts, list[tuple[str, str]]]:
    """All sentences, and (video, place) of those that are there twice."""
    inside = storage.join(root, "davis_text_annotations")
    folder = inside if storage.exists(inside) else root
    texts: Texts = {}
    second: list[tuple[str, str]] = []
    problems = []
    for number, file in enumerate(FILES):
        uri = storage.join(folder, file)
        for line, text in enumerate(_lines(uri)):
            match = re.fullmatch(r"(\S+)\s+([0-9]{1,3})\s+(\S.*)", text.strip())
            if match is None:
                problems.append(Problem(uri, line, f'{text.strip()[:60]!r} is not of the form VIDEO OBJECT "SENTENCE"'))
                continue
            video, object_id, sentence = match.groups()
            video = MISSPELT.get(video, video)
            of_object = texts.setdefault(video, {}).setdefault(object_id, {})
            if number in of_object:
                second.append((video, f"{uri} row {line}"))
            of_object.setdefault(number, _unquoted(sentence))
    if problems:
        raise SchemaError(problems)
    return texts, second


def _lines(uri: str) -> list[str]:
    """Lines of a text file, in UTF-8 or, as the second annotator's are, in Latin-1; empty ones at the end left out."""
    try:
        content = storage.read_bytes(uri, limit=MAX_TEXT_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{uri} is not there; Ref-DAVIS17 needs the texts of both annotators") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.rstrip().replace("\r\n", "\n").split("\n")


def _unquoted(sentence: str) -> str:
    words = " ".join(sentence.split())
    if len(words) > 1 and words[0] in QUOTES and words[-1] in QUOTES:
        words = words[1:-1].strip()
    return words


def _import_video(layout: Layout, texts: Texts, second: list[tuple[str, str]], video_id: str) -> DatasetVideo:
    video = davis.open_video(layout, video_id)
    found = video.found
    found.warnings += [(SECOND_TEXT, place) for of_video, place in second if of_video == video_id]
    # Sorted as text ("10" before "2"), as the usual conversion does, so that numbers are the published ones.
    for place, (object_id, sentences) in enumerate(sorted(texts.get(video_id, {}).items())):
        if len(sentences) < len(FILES):
            found.warnings.append((FEWER_TEXTS, f"{video_id} object {object_id}"))
        category = layout.categories.get(video_id, {}).get(object_id)
        found.pairs += [
            {
                "video_id": video_id,
                "video_uri": video.uri,
                "expression_id": str(4 * place + number),
                "expression": sentence,
                "num_frames": len(video.sequence),
                "object_ids": [object_id],
                "split": SPLITS.get(layout.split or ""),
                **_columns(number),
                **({"category": category} if category else {}),
            }
            for number, sentence in sorted(sentences.items())
        ]
    found.check_texts()
    davis.add_annotations(layout, video)
    return found
