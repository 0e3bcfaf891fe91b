"""WebDataset shards with a training manifest: videos and pseudo-labels as tar files that are read from front to back.

OUT/shard-00000.tar ...   a sample for each video: KEY.json, then KEY.<suffix, or bin> or KEY.<frame>.<suffix> each
OUT/index.json            shards with their numbers of samples, as `wids` reads it
OUT/manifest.parquet      the rows of the pairs that have masks, with pair_score, shard and key

KEY.json: {"video_id", "height", "width", "frames": [NAME, ...], "frame_indices", "expressions": [{"expression_id",
"expression", "pair_score", "scores", "masks": [COCO RLE or null, ...]}]}, lists in the order of `frames`, null where
the pair has no mask. Media are copied as they are: a video file whole, of a folder the frames that some pair has a mask
of.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.coco_video import segmentation
from pipeline.io import storage
from pipeline.masks.by_video import PairMasks
from pipeline.video.folder import list_frames
from schemas.errors import InputError, MediaError

ROWS_AT_ONCE = 10_000  # of the manifest, before they are written
REASONS = 10  # videos that could not be read, named


@dataclass(slots=True)
class Shards:
    """What was written. Left out are `failed` pairs, which have no masks, and those of videos that cannot be read."""

    videos: int = 0
    pairs: int = 0
    failed: int = 0
    unseen: int = 0
    shards: list[dict] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def write_webdataset(videos: Iterable[list[PairMasks]], schema: pa.Schema, out: str, shard_bytes: int) -> Shards:
    """Write the shards, each closed once it has `shard_bytes`; `schema` is that of the manifest.

    Memory is the RLE of one video and one image. Raises InputError for broken masks, and names that no file can have.
    """
    made = Shards()
    with ExitStack() as closing:
        manifest = closing.enter_context(_ManifestFile(storage.join(out, "manifest.parquet"), schema))
        shard: _Shard | None = None
        for video in videos:
            good = [pair for pair in video if pair.frames.num_rows]
            made.failed += len(video) - len(good)
            if not good:
                continue
            try:
                media = list(_media(good))
            except (OSError, MediaError) as error:
                made.unseen += len(good)
                made.reasons += [good[0].message(error)] if len(made.reasons) < REASONS else []
                continue
            shard = shard or closing.enter_context(_Shard(out, len(made.shards)))
            key = f"{made.videos:08d}"
            shard.add(key, good, media)
            made.videos += 1
            made.pairs += len(good)
            for pair in good:
                score = pair.frames["pair_score"][0].as_py()
                manifest.add(pair.row | {"pair_score": score, "shard": shard.name, "key": key})
            if shard.size >= shard_bytes:
                made.shards.append(shard.commit())
                shard = None
        if shard:
            made.shards.append(shard.commit())
        if not made.shards:
            raise InputError("no pair has masks and a video that can be read; there is nothing to write")
        manifest.commit()
    index = {"wids_version": 1, "name": "refervos", "shardlist": made.shards}
    storage.write_bytes(storage.join(out, "index.json"), (json.dumps(index, indent=2) + "\n").encode())
    return made


def _media(pairs: list[PairMasks]) -> Iterator[tuple[str, str]]:
    """(suffix within the sample, URI) of the files to copy."""
    uri = pairs[0].row["video_uri"]
    if not storage.is_folder(uri):
        storage.size(uri)  # raises where it is not there
        yield _suffix(uri), uri
        return
    files = list_frames(uri)
    for name in _frames(pairs).values():
        if name not in files:
            raise MediaError("missing", f"{uri} lacks this frame", name)
        yield files[name], storage.join(uri, files[name])


def _suffix(uri: str) -> str:
    """Of a file, in small letters; `bin` if it has none."""
    _, dot, suffix = storage.file_name(uri).rpartition(".")
    return suffix.lower() if dot and suffix else "bin"


def _frames(pairs: list[PairMasks]) -> dict[int, str]:
    """Index -> name of every frame that some pair has a mask of, in order."""
    return dict(sorted({row["frame_index"]: row["frame_name"] for pair in pairs for row in pair.rows()}.items()))


def _label(pairs: list[PairMasks]) -> bytes:
    frames = _frames(pairs)
    first = pairs[0].frames.slice(0, 1).to_pylist()[0]
    document: dict[str, Any] = {
        "video_id": pairs[0].video_id,
        "height": first["height"],
        "width": first["width"],
        "frames": list(frames.values()),
        "frame_indices": list(frames),
        "expressions": [],
    }
    for pair in pairs:
        rows = {row["frame_index"]: row for row in pair.rows()}
        document["expressions"].append(
            {
                "expression_id": pair.expression_id,
                "expression": pair.row.get("expression"),
                "pair_score": next(iter(rows.values()))["pair_score"],
                "scores": [rows[index]["score"] if index in rows else None for index in frames],
                "masks": [segmentation(pair, rows[index]) if index in rows else None for index in frames],
            }
        )
    return json.dumps(document, ensure_ascii=False).encode()


class _Shard:
    """One tar on its way, all times and owners 0."""

    def __init__(self, out: str, number: int):
        self.name = f"shard-{number:05d}.tar"
        self.samples = 0
        self._uri = storage.join(out, self.name)

    def __enter__(self) -> "_Shard":
        self._closing = ExitStack()
        self._path = self._closing.enter_context(storage.spool(self._uri))
        self._file = self._closing.enter_context(open(self._path, "wb"))
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.GNU_FORMAT)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @property
    def size(self) -> int:
        return self._file.tell()

    def add(self, key: str, pairs: list[PairMasks], media: list[tuple[str, str]]) -> None:
        """One sample."""
        label = _label(pairs)
        self._tar.addfile(_member(f"{key}.json", len(label)), io.BytesIO(label))
        for suffix, uri in media:
            with storage.open_input(uri) as file:
                self._tar.addfile(_member(f"{key}.{suffix}", storage.size(uri)), file)
        self.samples += 1

    def commit(self) -> dict:
        """Make it visible; its entry in the index."""
        self._tar.close()
        size = self.size
        self._file.flush()
        storage.commit(self._path, self._uri, replace=True)
        self._closing.close()
        return {"url": self.name, "nsamples": self.samples, "filesize": size}


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(storage.safe_name(name))
    member.size = size
    return member


class _ManifestFile:
    """The rows of the manifest that were exported, written as they come."""

    def __init__(self, uri: str, schema: pa.Schema):
        more = {"pair_score": pa.float32(), "shard": pa.string(), "key": pa.string()}
        fields = [field for field in schema if field.name not in more]
        self._schema = pa.schema([*fields, *(pa.field(name, kind) for name, kind in more.items())], schema.metadata)
        self._uri = uri
        self._rows: list[dict] = []

    def __enter__(self) -> "_ManifestFile":
        self._closing = ExitStack()
        self._path = self._closing.enter_context(storage.spool(self._uri))
        self._writer = self._closing.enter_context(pq.ParquetWriter(self._path, self._schema, compression="zstd"))
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def add(self, row: dict) -> None:
        self._rows.append(row)
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def commit(self) -> None:
        self._flush()
        self._writer.close()
        storage.commit(self._path, self._uri, replace=True)

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []
