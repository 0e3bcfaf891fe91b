"""`rvos synth`: a synthetic data set of moving shapes, with sentences, exact masks and attributes."""

from dataclasses import dataclass

from jobs.config.synth import SynthConfig
from jobs.result import JobResult
from pipeline.datasets.synthetic.synthetic import SyntheticVideos
from pipeline.io import output_folder, storage
from schemas.printable import counted


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthResult(JobResult):
    """URIs and counts of the written data set."""

    manifest: str
    annotations: str
    videos: int
    pairs: int
    kinds: dict[str, int]  # sentences by kind

    def text(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        return "\n".join(
            [
                f"manifest     {self.manifest}",
                f"annotations  {self.annotations}",
                f"{counted(self.pairs, 'expression')} for {counted(self.videos, 'video')}: {kinds}",
            ]
        )


def run(config: SynthConfig) -> SynthResult:
    """Write the data set to `config.out`. Raises InputError if that folder is not empty; a failure leaves it so."""
    out = storage.absolute(config.out)
    data_set = SyntheticVideos(
        videos=config.videos,
        split=config.split,
        height=config.height,
        width=config.width,
        frames=config.frame_range,
        shapes=config.shape_range,
        expressions=config.expressions,
        focus=config.focus,
        no_target=config.no_target,
        seed=config.seed,
    )
    with output_folder.new(out):
        manifest, annotations, kinds = data_set.write(out)
    return SynthResult(
        manifest=manifest, annotations=annotations, videos=config.videos, pairs=kinds.total(), kinds=dict(kinds)
    )
