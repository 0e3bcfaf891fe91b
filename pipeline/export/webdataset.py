"""WebDataset shards with a training manifest: videos and pseudo-labels as tar files that are read from front to back.

OUT/shard-00000.tar ...   one sample for each video: KEY.json, then KEY.<suffix, or bin> or KEY.<frame>.<suffix> each
OUT/index.json            shards with their numbers of samples, as `wids` reads it
OUT/manifest.parquet      the rows of the pairs that have masks, with pair_score, shard and key

KEY.json: {"video_id", "height", "width", "frames": [NAME, ...], "frame_indices", "expressions": [{"expression_id",
"expression", "pair_score", "scores", "masks": [COCO RLE or null, ...]}]}. Lists are in the order of `frames`, with null
where the pair has no mask. Media are copied unchanged: a video file whole, of a folder the frames that some pair has a
mask for. Only a file that can be decoded as a video or a picture is copied, see `media`.
"""

import contextlib
import io
import itertools
import json
import tarfile
from collections.abc import Generator, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.coco_video import segmentation
from pipeline.export.exported import UNREADABLE_NOTED, Exported
from pipeline.export.media import Medium, open_media
from pipeline.io import storage
from pipeline.masks.by_video import MaskSource, PairMasks
from schemas.errors import InputError, MediaError
from schemas.printable import counted

ADDED_COLUMNS = {"pair_score": pa.float32(), "shard": pa.string(), "key": pa.string()}
REASONS = 3  # of each kind that an error lists
ROWS_BUFFERED = 10_000  # of the manifest, before they are written


def write_webdataset(source: MaskSource, out: str, *, shard_mb: int = 256) -> Exported:
    """Write shards to the folder `out`, each closed at `shard_mb` MiB. `source` must have a manifest.

    Memory is the RLE of one video and one image. Raises InputError for broken masks and for names that cannot be file
    names, and if no pair could be written.
    """
    counts: dict[str, int] = dict.fromkeys(("videos", "pairs", "failed", "unseen"), 0)
    notes: list[str] = []
    failures: list[str] = []  # why pairs have no masks
    shards: list[dict] = []
    given = source.require_manifest().schema
    fields = [field for field in given if field.name not in ADDED_COLUMNS]
    schema = pa.schema([*fields, *(pa.field(*added) for added in ADDED_COLUMNS.items())], given.metadata)
    manifest_uri = storage.join(out, "manifest.parquet")
    with contextlib.closing(_samples(source, counts, notes, failures)) as samples, storage.spool(manifest_uri) as path:
        with pq.ParquetWriter(path, schema, compression="zstd") as manifest:
            rows: list[dict] = []
            for first in samples:
                shard = f"shard-{len(shards):05d}.tar"
                for row in _write_shard(storage.join(out, shard), itertools.chain([first], samples), shard_mb, shards):
                    rows.append(row | {"shard": shard})
                    if len(rows) == ROWS_BUFFERED:
                        manifest.write_table(pa.Table.from_pylist(rows, schema=schema))
                        rows = []
            if not shards:
                raise InputError(_nothing(source.uri, counts, notes, failures))
            if rows:
                manifest.write_table(pa.Table.from_pylist(rows, schema=schema))
        storage.commit(path, manifest_uri, replace=True)
    index = {"wids_version": 1, "name": "refervos", "shardlist": shards}
    storage.write_bytes(storage.join(out, "index.json"), (json.dumps(index, indent=2) + "\n").encode())
    return Exported(counts | {"shards": len(shards)}, notes)


def _samples(
    source: MaskSource, counts: dict[str, int], notes: list[str], failures: list[str]
) -> Generator[tuple[str, list[PairMasks], list[Medium]], None, None]:
    """Yield the key, the pairs with masks and the media of each video that can be read; count the others.

    Adds the reasons to `notes` for unreadable videos, and to `failures` for pairs without masks.

    The media are valid until the next sample.
    """
    for video in source.videos():
        pairs = [pair for pair in video if pair.frames.num_rows]
        counts["failed"] += len(video) - len(pairs)
        without = (pair.message(pair.problem) for pair in video if not pair.frames.num_rows)
        failures += itertools.islice(without, max(0, REASONS - len(failures)))
        if not pairs:
            continue
        with contextlib.ExitStack() as stack:
            try:
                media = stack.enter_context(open_media(pairs[0].row["video_uri"], _frames(pairs).values()))
            except (OSError, MediaError, InputError) as error:
                counts["unseen"] += len(pairs)
                notes += [pairs[0].message(error)] if len(notes) < UNREADABLE_NOTED else []
                continue
            yield f"{counts['videos']:08d}", pairs, media
        counts["videos"] += 1
        counts["pairs"] += len(pairs)


def _nothing(uri: str, counts: dict[str, int], notes: list[str], failures: list[str]) -> str:
    """Return why no shard can be written."""
    reasons = (
        [f"no masks for {counted(counts['failed'], 'pair')} ({_listed(failures, counts['failed'])})"]
        if failures
        else []
    )
    if notes:
        reasons.append(
            f"no readable video for {counted(counts['unseen'], 'pair')} ({_listed(notes, counts['unseen'])})"
        )
    return f"{uri}: nothing to write: {'; '.join(reasons) or 'it has no pairs'}"


def _listed(reasons: list[str], count: int) -> str:
    return "; ".join(reasons[:REASONS]) + ("; ..." if count > REASONS else "")


def _frames(pairs: list[PairMasks]) -> dict[int, str]:
    """Index -> name of every frame that some pair has a mask for, in order."""
    return dict(sorted({row["frame_index"]: row["frame_name"] for pair in pairs for row in pair.rows()}.items()))


def _write_shard(
    uri: str, samples: Iterator[tuple[str, list[PairMasks], list[Medium]]], shard_mb: int, index: list[dict]
) -> Iterator[dict]:
    """Write samples until the tar has `shard_mb` MiB, and add its entry to `index`; yield the manifest rows in it.

    All times and owners are 0, for the same bytes each time.
    """
    written = 0
    with storage.spool(uri) as path:
        with open(path, "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for key, pairs, media in samples:
                label = tarfile.TarInfo(storage.safe_name(f"{key}.json"))
                content = _label(pairs)
                label.size = len(content)
                tar.addfile(label, io.BytesIO(content))
                for medium in media:
                    member = tarfile.TarInfo(storage.safe_name(f"{key}.{medium.suffix}"))
                    member.size = medium.size
                    medium.file.seek(medium.start)
                    tar.addfile(member, medium.file)
                written += 1
                for pair in pairs:
                    score = pair.frames["pair_score"][0].as_py()
                    yield pair.row | {"pair_score": score, "key": key}
                if file.tell() >= shard_mb * 2**20:
                    break
        size = storage.size(path)
        storage.commit(path, uri, replace=True)
    index.append({"url": storage.file_name(uri), "nsamples": written, "filesize": size})


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
