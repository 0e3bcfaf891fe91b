"""`rvos import`: the folder of a data set becomes a manifest and, if it has masks, annotations."""

from dataclasses import dataclass

from jobs.config.import_dataset import ImportConfig
from jobs.result import JobResult, Skipped, skipped_of, with_count
from pipeline.datasets.registry import DATASETS
from pipeline.datasets.writer import dataset_writer
from pipeline.io import output_folder, storage
from schemas.check import SchemaError
from schemas.errors import ImplausibleError, InputError
from schemas.printable import counted, one_line
from schemas.shown import without_secrets

MAX_PROBLEMS = 1000  # reading stops after so many


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportResult(JobResult):
    """URIs of the files written (None: the data set has none), counts, warnings, and what was left out."""

    manifest: str | None
    annotations: str | None
    void: str | None
    foreground: str | None
    videos: int
    pairs: int
    objects: int
    mask_rows: int
    published: tuple[str, ...]
    warnings: tuple[str, ...]
    skipped: tuple[Skipped, ...]

    def text(self) -> str:
        lines = [
            f"{self.manifest}: {counted(self.pairs, 'pair')} in {counted(self.videos, 'video')}"
            if self.manifest
            else f"no expressions, no manifest: {counted(self.videos, 'video')}"
        ]
        lines += [f"published, {counts}" for counts in self.published]
        lines += (
            [
                f"{self.annotations}: {counted(self.objects, 'object')}; {counted(self.mask_rows, 'row')}, one for "
                "each object and annotated frame"
            ]
            if self.annotations
            else ["no masks, no annotations"]
        )
        lines += [f"{self.void}: pixels that are not scored"] if self.void else []
        lines += [f"{self.foreground}: pixels of any object"] if self.foreground else []
        lines += [one.line() for one in self.skipped]
        return "\n".join([*lines, *(f"warning: {one_line(warning)}" for warning in self.warnings)])


def run(config: ImportConfig) -> ImportResult:
    """Write OUT/manifest.parquet, annotations.parquet, void.parquet and foreground.parquet, those that have rows.

    Nothing is written unless the whole data set is sound. Raises InputError that lists every problem, or if OUT holds
    tables of another import; ImplausibleError if the masks look as if they were encoded the wrong way (unless
    `config.force`). Only the masks of a few videos are in memory at a time.
    """
    out = storage.absolute(config.out)
    output_folder.require_folder(out)
    dataset = DATASETS[config.dataset]
    videos = dataset.read(config.root, **{name: getattr(config, name) for name in dataset.options})
    with dataset_writer(out, _made_of(config)) as writer:
        for video in videos:
            writer.add(video)
            if len(writer.problems) > MAX_PROBLEMS:
                break
        if writer.problems:
            raise SchemaError(writer.problems)
        if not writer.pairs and not writer.masks["annotations"].rows:
            text = f"the data set in {config.root} has neither expressions nor masks; check ROOT and --split"
            raise InputError("\n".join([text, *(one.line() for one in skipped_of(writer.skipped))]))
        try:
            doubts = writer.run_order.require(config.root, force=config.force)
        except ImplausibleError as error:
            raise ImplausibleError(f"{error}\ncorrect them, or import them as they are with --force") from None
        written = writer.commit()
    split = (next(iter(writer.splits)) if len(writer.splits) == 1 else None) or config.split
    stale = [storage.join(out, f"{name}.parquet") for name, uri in written.items() if uri is None]
    return ImportResult(
        **written,
        videos=writer.videos if written["manifest"] else len(writer.ids),
        pairs=writer.pairs,
        objects=writer.objects,
        mask_rows=writer.masks["annotations"].rows,
        published=tuple(map(str, dataset.published_counts(split))),
        warnings=(
            *(with_count(text, count, first) for text, (count, first) in writer.warnings.items()),
            *doubts,
            *(f"{uri} was written by an earlier import; remove it" for uri in stale if storage.exists(uri)),
        ),
        skipped=skipped_of(writer.skipped),
    )


def _made_of(config: ImportConfig) -> dict:
    """The options that decide the rows of the tables."""
    paths = {"root": config.root, "expressions": config.expressions}
    return {
        "dataset": config.dataset,
        **{name: None if path is None else without_secrets(storage.absolute(path)) for name, path in paths.items()},
        "split": config.split,
        "context": config.context,
    }
