"""WebDataset shards with a training manifest: videos and pseudo-labels as tar files that are read from front to back.

OUT/shard-00000.tar ...   one sample for each video: KEY.json, then KEY.<suffix, or bin> or KEY.<frame>.<suffix> each
OUT/index.json            shards with their numbers of samples, as `wids` reads it
OUT/manifest.parquet      the rows of the pairs that have masks, with pair_score, shard and key

KEY.json: {"video_id", "height", "width", "frames": [NAME, ...], "frame_indices", "expressions": [{"expression_id",
"expression", "pair_score", "scores", "masks": [COCO RLE or null, ...]}]}. Lists are in the order of `frames`, with null
where the pair has no mask. Media are copied unchanged: a video file whole, of a folder the frames that some pair has a
mask for.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.coco_video import segmentation
from pipeline.export.exported import Exported
from pipeline.io import storage
from pipeline.masks.by_video import MaskSource, PairMasks
from pipeline.video.folder import list_frames
from schemas.errors import InputError, MediaError

ROWS_BUFFERED = 10_000  # of the manifest, before they are written
UNREADABLE_NAMED = 10  # videos in the notes


def write_webdataset(source: MaskSource, out: str, *, shard_mb: int = 256) -> Exported:
    """Write shards to the folder `out`, each closed at `shard_mb` MiB. `source` must have a manifest.

    Memory is the RLE of one video and one image. Raises InputError for broken masks and for names that cannot be file
    names, and if no pair could be written.
    """
    counts: dict[str, int] = dict.fromkeys(("videos", "pairs", "failed", "unseen"), 0)
    index, notes = [], []
    with ExitStack() as closing:
        schema = source.require_manifest().schema
        manifest = closing.enter_context(_ManifestWriter(storage.join(out, "manifest.parquet"), schema))
        shard: _ShardWriter | None = None
        for video in source.videos():
            pairs = [pair for pair in video if pair.frames.num_rows]
            counts["failed"] += len(video) - len(pairs)
            if not pairs:
                continue
            try:
                media = list(_media(pairs))
            except (OSError, MediaError) as error:
                counts["unseen"] += len(pairs)
                notes += [pairs[0].message(error)] if len(notes) < UNREADABLE_NAMED else []
                continue
            shard = shard or closing.enter_context(_ShardWriter(out, len(index)))
            key = f"{counts['videos']:08d}"
            shard.add(key, pairs, media)
            counts["videos"] += 1
            counts["pairs"] += len(pairs)
            for pair in pairs:
                score = pair.frames["pair_score"][0].as_py()
                manifest.add(pair.row | {"pair_score": score, "shard": shard.name, "key": key})
            if shard.size >= shard_mb * 2**20:
                index.append(shard.commit())
                shard = None
        if shard:
            index.append(shard.commit())
        if not index:
            raise InputError("nothing to write: no pair has both masks and a readable video")
        manifest.commit()
    document = {"wids_version": 1, "name": "refervos", "shardlist": index}
    storage.write_bytes(storage.join(out, "index.json"), (json.dumps(document, indent=2) + "\n").encode())
    return Exported(counts | {"shards": len(index)}, notes)


def _media(pairs: list[PairMasks]) -> Iterator[tuple[str, str]]:
    """Suffix within the sample, and URI, of the files to copy. Raises OSError or MediaError if one is missing."""
    uri = pairs[0].row["video_uri"]
    if not storage.is_folder(uri):
        storage.size(uri)  # raises if it does not exist
        _, dot, suffix = storage.file_name(uri).rpartition(".")
        yield suffix.lower() if dot and suffix else "bin", uri
        return
    files = list_frames(uri)
    for name in _frames(pairs).values():
        if name not in files:
            raise MediaError("missing", f"{uri} lacks this frame", name)
        yield files[name], storage.join(uri, files[name])


def _frames(pairs: list[PairMasks]) -> dict[int, str]:
    """Index -> name of every frame that some pair has a mask for, in order."""
    return dict(sorted({row["frame_index"]: row["frame_name"] for pair in pairs for row in pair.rows()}.items()))


class _ShardWriter:
    """One tar file; all times and owners are 0."""

    def __init__(self, out: str, number: int):
        self.name = f"shard-{number:05d}.tar"
        self._samples = 0
        self._uri = storage.join(out, self.name)

    def __enter__(self) -> "_ShardWriter":
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
        """Add one sample."""
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
        label = json.dumps(document, ensure_ascii=False).encode()
        self._tar.addfile(_tar_member(f"{key}.json", len(label)), io.BytesIO(label))
        for suffix, uri in media:
            with storage.open_input(uri) as file:
                self._tar.addfile(_tar_member(f"{key}.{suffix}", storage.size(uri)), file)
        self._samples += 1

    def commit(self) -> dict:
        """Make the shard visible; return its entry in the index."""
        self._tar.close()
        size = self.size
        self._file.flush()
        storage.commit(self._path, self._uri, replace=True)
        self._closing.close()
        return {"url": self.name, "nsamples": self._samples, "filesize": size}


def _tar_member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(storage.safe_name(name))
    member.size = size
    return member


class _ManifestWriter:
    """The manifest rows of the exported pairs, written in batches."""

    def __init__(self, uri: str, schema: pa.Schema):
        added = {"pair_score": pa.float32(), "shard": pa.string(), "key": pa.string()}
        fields = [field for field in schema if field.name not in added]
        self._schema = pa.schema([*fields, *(pa.field(name, kind) for name, kind in added.items())], schema.metadata)
        self._uri = uri
        self._rows: list[dict] = []

    def __enter__(self) -> "_ManifestWriter":
        self._closing = ExitStack()
        self._path = self._closing.enter_context(storage.spool(self._uri))
        self._writer = self._closing.enter_context(pq.ParquetWriter(self._path, self._schema, compression="zstd"))
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def add(self, row: dict) -> None:
        self._rows.append(row)
        if len(self._rows) >= ROWS_BUFFERED:
            self._flush()

    def commit(self) -> None:
        self._flush()
        self._writer.close()
        storage.commit(self._path, self._uri, replace=True)

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []
