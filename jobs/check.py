"""`rvos check`: validate a manifest and its videos before you pay for a cluster."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from jobs.config.check import CheckConfig
from jobs.result import JobResult, Skipped, skipped_of, with_count
from jobs.sentences import sentence_note
from jobs.terminal.progress import count
from model.segmenter import CheckpointInfo
from pipeline.io import parquet, storage
from pipeline.io.checkpoint import read_checkpoint_info
from pipeline.io.manifest import length_problem, load_manifest, row_problems, table_problems, uri_problem
from pipeline.io.parallel import bounded_map
from pipeline.video import LeftOut, Selection, VideoHeader, folder, probe, read_frames
from schemas.advice import outside_a_run
from schemas.errors import InputError, MediaError, ServerError
from schemas.manifest import MANIFEST
from schemas.pair import short_id
from schemas.printable import counted

WORKERS = min(32, 4 * (os.cpu_count() or 1))  # videos opened in parallel, which is mostly waiting for storage
REFUSED, STALE = "refused", "stale"
SERVER_TRIES = 10  # videos of a server that fails, after which the check ends; each takes a minute


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One problem of one video, in `rows` rows, the first of them `row` (0-based; texts count from 1).

    `status` is the status that their pairs would get in a run, "refused" if no run would start, or "stale" if only
    num_frames, which planning uses, is wrong.
    """

    row: int
    video_id: str
    rows: int
    status: str
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumed:
    """An assumption about some folders of frames."""

    text: str
    folders: tuple[str, ...]

    def line(self) -> str:
        return f"warning: {with_count(self.text, len(self.folders), self.folders[0])}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult(JobResult):
    """The size of the manifest, and every problem, sorted by row.

    `without_length` counts videos without problems whose header has no frame count; `written` is the number of rows
    whose num_frames changed, None without `--write`. `skipped` lists what is not decoded: other files in folders of
    frames, further video streams. `assumed` lists all folders whose order of frames had to be assumed.
    """

    manifest: str
    pairs: int
    videos: int
    frames: int
    without_length: int
    decoded: bool  # every video to its end; else header and first frame
    findings: tuple[Finding, ...]
    written: int | None
    skipped: tuple[Skipped, ...]
    assumed: tuple[Assumed, ...] = ()
    note: str | None = None  # on sentences that the model may not take in

    @property
    def exit_code(self) -> int:
        """2 if no run would start, 1 if some pairs would fail, 0 if there are no problems."""
        if any(finding.status == REFUSED for finding in self.findings):
            return 2
        return 1 if self.findings else 0

    def text(self) -> str:
        counts = [counted(self.pairs, "pair"), counted(self.videos, "video"), counted(self.frames, "frame")]
        lines = [f"{self.manifest}: {counts[0]} in {counts[1]}, {counts[2]}"]
        if not self.decoded:
            lines.append("only headers and first frames were read; --decode finds damage after them")
        if self.without_length:
            text = "without a length in the header; only decoding gives it"
            lines.append(f"{counted(self.without_length, 'video')} {text}")
        lines += [one.line() for one in (*self.assumed, *self.skipped)]
        if self.written is not None:
            lines.append(f"num_frames written to {counted(self.written, 'row')}")
        if self.note:
            lines.append(self.note)
        if not self.findings:
            return "\n".join([*lines, "no problems found"])
        table = [("row from 1", "rows", "video_id", "status", "problem")]
        table += [(str(f.row + 1), str(f.rows), short_id(f.video_id), f.status, f.problem) for f in self.findings]
        widths = [max(len(line[column]) for line in table) for column in range(4)]
        for line in table:
            lines.append("  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[4]]))
        return "\n".join([*lines, counted(len(self.findings), "problem")])


def run(config: CheckConfig, checkpoint: CheckpointInfo | None = None) -> CheckResult:
    """Check every row, open every video once, in parallel, and write num_frames if requested.

    checkpoint: limits the length of expressions; by default the one of the config, if any.

    Raises InputError if the manifest or the checkpoint is unreadable or incomplete. Memory: the manifest and the
    findings.
    """
    uri = storage.absolute(config.manifest)
    table = load_manifest(uri, allow_local=config.allow_local).combine_chunks()
    if config.checkpoint is not None:
        checkpoint = read_checkpoint_info(config.checkpoint)
    findings = []
    for problem in table_problems(table, uri):
        row = problem.row if isinstance(problem.row, int) else 0
        video_id = table["video_id"][row].as_py()
        findings.append(Finding(row=row, video_id=video_id, rows=1, status=REFUSED, problem=problem.text))
    columns = table.select([name for name in MANIFEST.names if name in table.column_names])
    num_frames = np.full(table.num_rows, -1, np.int64)  # -1: unknown
    frames = without_length = 0

    left_out: dict[str, tuple[int, str]] = {}
    assumed: dict[str, list[str]] = {}
    for rows, video in _check_videos(columns, config, checkpoint):
        findings += video.findings
        for reason, number, place in video.left_out:
            before, first = left_out.get(reason, (0, place))
            left_out[reason] = before + number, first
        for text, place in video.assumed:
            assumed.setdefault(text, []).append(place)
        frames += video.num_frames or 0
        without_length += video.num_frames is None and not video.findings
        if video.num_frames is not None:
            num_frames[rows] = video.num_frames
    written = _write_num_frames(uri, num_frames) if config.write else None
    return CheckResult(
        manifest=uri,
        pairs=table.num_rows,
        videos=len(table["video_id"].unique()),
        frames=frames,
        without_length=without_length,
        decoded=config.decode,
        findings=tuple(sorted(findings, key=lambda finding: finding.row)),
        written=written,
        skipped=skipped_of(left_out),
        assumed=tuple(Assumed(text=text, folders=tuple(places)) for text, places in assumed.items()),
        note=sentence_note(checkpoint.family, table["expression"]) if checkpoint else None,
    )


class _Checked(NamedTuple):
    """The result of checking one video."""

    num_frames: int | None  # None: unknown
    findings: list[Finding]
    left_out: tuple[LeftOut, ...]
    assumed: list[tuple[str, str]]  # what, and the folder or file
    failure: ServerError | None  # of the server that has the video


class _Servers:
    """Tells a server that fails, which costs its own rows, from a network that is down."""

    def __init__(self) -> None:
        self._failures: Counter[str] = Counter()
        self._first: ServerError | None = None
        self._reached = False

    def note(self, uri: str, failure: ServerError | None) -> None:
        """Note how a video was opened. Raises ServerError if its server has failed SERVER_TRIES times."""
        if failure is None:
            self._reached = True
            return
        self._first = self._first or failure
        self._failures[storage.origin(uri)] += 1
        if self._failures[storage.origin(uri)] >= SERVER_TRIES:
            raise failure

    def require_one(self) -> None:
        """Raise ServerError if no video of any server could be opened."""
        if self._first is not None and not self._reached:
            raise self._first


def _check_videos(
    columns: pa.Table, config: CheckConfig, checkpoint: CheckpointInfo | None
) -> Iterator[tuple[np.ndarray, _Checked]]:
    """Open every video once, in parallel. Yields the numbers of its rows and the result.

    Raises ServerError if a server fails again and again, or if no video of any server could be opened.
    """
    codes = columns["video_uri"].combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    rows_by_uri = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)

    def check(rows: np.ndarray) -> _Checked:
        of_video = columns.take(pa.array(rows)).to_pylist()
        return _check_video(of_video, rows, checkpoint, lengths_matter=not config.write, decode=config.decode)

    checked = bounded_map(check, rows_by_uri, WORKERS)
    servers, show = _Servers(), count("videos checked")
    for done, (rows, video) in enumerate(zip(rows_by_uri, checked, strict=True), 1):
        show(done, len(rows_by_uri))
        servers.note(columns["video_uri"][int(rows[0])].as_py(), video.failure)
        yield rows, video
    servers.require_one()


def _check_video(
    rows: list[dict], numbers: np.ndarray, checkpoint: CheckpointInfo | None, *, lengths_matter: bool, decode: bool
) -> _Checked:
    """Open the video that `rows` share, and check each row against it. `numbers` are their row numbers."""
    header = failure = None
    assumed: list[tuple[str, str]] = []
    problems: dict[tuple[str, str], list[int]] = {}  # (status, text) -> indices into rows
    uri = rows[0]["video_uri"]
    try:
        header = probe(uri) if uri_problem(uri) is None else None
        if header and header.names is not None and storage.is_folder(uri):
            files = [*folder.list_frames(uri).values()]
            if moving := folder.animation_among(uri, files):
                reason = f"{storage.join(uri, moving)} {folder.IS_AMONG_FRAMES}"
                raise MediaError("bad_row", reason, moving.rpartition(".")[0])
            differs, odd = folder.order_notes(files)
            assumed += [(folder.NATURAL, uri)] if differs else []
            assumed += [(folder.ODD_NAMES, storage.join(uri, name)) for name in odd]
        if header and decode:
            header = replace(header, num_frames=sum(1 for _ in read_frames(uri, Selection())))
    except MediaError as error:
        problems[error.status, outside_a_run(str(error))] = list(range(len(rows)))
    except ServerError as error:
        failure = error
        problems["missing", str(error)] = list(range(len(rows)))
    for index, row in enumerate(rows):
        for status, text in _row_findings(row, header, checkpoint, lengths_matter):
            problems.setdefault((status, text), []).append(index)
    findings = [
        Finding(row=int(numbers[at[0]]), video_id=rows[at[0]]["video_id"], rows=len(at), status=status, problem=text)
        for (status, text), at in problems.items()
    ]
    left_out = header.left_out if header else ()
    return _Checked(header.num_frames if header else None, findings, left_out, assumed, failure)


def _row_findings(
    row: dict, header: VideoHeader | None, checkpoint: CheckpointInfo | None, lengths_matter: bool
) -> Iterator[tuple[str, str]]:
    problems = list(row_problems(row))
    if checkpoint and not problems and (too_long := length_problem(row["expression"], checkpoint)):
        problems.append(too_long)
    bad = [f"expression_id={short_id(row['expression_id'])}: {problem}" for problem in problems]
    yield from (("bad_row", problem) for problem in bad)
    if header is None or bad:
        return
    names, indices, targets = row.get("frames"), row.get("frame_indices"), row.get("target_frames")
    listed = Selection(names and tuple(names), indices and tuple(indices), is_sequence=True)
    for selection in (listed, Selection(targets and tuple(targets))):
        try:
            selection.resolve(row["video_uri"], header.num_frames, header.names)
        except MediaError as error:
            yield error.status, outside_a_run(str(error))
    stated = row.get("num_frames")
    if lengths_matter and None not in (stated, header.num_frames) and stated != header.num_frames:
        has = counted(header.num_frames or 0, "frame")
        yield STALE, f"num_frames is {stated}, but the video has {has}; --write corrects it"


def _write_num_frames(uri: str, num_frames: np.ndarray) -> int:
    """Write known lengths (not -1) to the column num_frames of the manifest. Returns the number of changed rows."""
    if storage.is_folder(uri):
        raise InputError(f"--write cannot change the files of the folder {uri}; write the manifest as one file")
    table = parquet.read_table(uri)
    known = num_frames >= 0
    if "num_frames" in table.column_names:
        position = table.column_names.index("num_frames")
        field = table.schema.field(position)
        field = field if pa.types.is_integer(field.type) else MANIFEST.field("num_frames")  # null, or numbers with gaps
        before = table["num_frames"].to_pylist()
    else:
        position, field, before = None, MANIFEST.field("num_frames"), [None] * table.num_rows
    after = [int(count) if is_known else old for count, is_known, old in zip(num_frames, known, before, strict=True)]
    changed = sum(old != new for old, new in zip(before, after, strict=True))
    if changed:
        column = pa.array(after, field.type)
        if position is None:
            table = table.append_column(field, column)
        else:
            table = table.set_column(position, field, column)
        parquet.write_table(uri, table)
    return changed
