"""Options and registry of `rvos benchmark`."""

from dataclasses import field, fields, replace
from typing import Any, NamedTuple

from jobs.config.options import KEY, argument, command_config, option
from jobs.config.segment import SegmentConfig
from pipeline.evaluation.protocols import RULES
from schemas import kinds
from schemas.errors import InputError


class Benchmark(NamedTuple):
    """A benchmark. Its data set, its protocol, its server and its rules, where they exist, have its name."""

    split: str | None  # evaluated by default; None: the data set has no splits
    by: tuple[str, ...] = ()  # attributes of the published table
    server_splits: tuple[str, ...] = ()  # splits whose masks a server evaluates


BENCHMARKS = {
    "ref-youtube-vos": Benchmark("valid", server_splits=("valid", "test")),
    "ref-davis17": Benchmark("valid", by=("annotator",)),
    "a2d": Benchmark("test"),
    "jhmdb": Benchmark(None),
    "mevis": Benchmark("valid_u", server_splits=("valid",)),
    "revos": Benchmark("valid", by=("type_id",)),
    "long-rvos": Benchmark("valid", by=("type",)),
}
_OF_SEGMENT = {declared.name: declared for declared in fields(SegmentConfig)}
PASSED_ON = ("limit", "short_side", "max_size", "window", "device", "actors", "address")  # to `rvos segment`


def _passed_on(name: str) -> Any:
    """Declare an option as `rvos segment` does; here NAME selects the rules."""
    declared = _OF_SEGMENT[name]
    details = declared.metadata[KEY]
    text = details.help.replace("from --rules", "from the published rules of NAME")
    return field(default=declared.default, metadata={KEY: replace(details, help=text)})


@command_config
class BenchmarkConfig:
    """Import, segment, score and report one benchmark.

    Imports the data set in ROOT, segments it by the published rules if there are any, scores the masks, and writes a
    report. If only a server can score the split, writes the zip to upload. Each step is an ordinary command, which is
    printed. After an interruption, repeat the command: finished masks are kept; the data set is read again.

        rvos benchmark ref-davis17 /data/ref-davis --checkpoint checkpoint/ --out davis/
        rvos benchmark a2d /data/a2d_sentences --checkpoint checkpoint/ --out a2d/ --limit 20
    """

    name: str = argument(metavar="NAME", choices=tuple(BENCHMARKS))
    root: str = argument(takes=kinds.DATASET)
    checkpoint: str = option(takes=kinds.CHECKPOINT, help="Checkpoint folder, from 'rvos convert' or 'rvos train'.")
    out: str = option(takes=kinds.NEW_FOLDER, help="Folder for the data, the run, the scores, the report and the zip.")
    split: str | None = option(
        default=None,
        help="Split of the data set.  [default: test for a2d, valid_u for mevis, else valid; jhmdb has no splits]",
    )
    limit: int | None = _passed_on("limit")
    window: str | None = _passed_on("window")
    short_side: int | None = _passed_on("short_side")
    max_size: int | None = _passed_on("max_size")
    device: str = _passed_on("device")
    actors: str | None = _passed_on("actors")
    address: str = _passed_on("address")

    def __post_init__(self) -> None:
        if self.split is not None and BENCHMARKS[self.name].split is None:
            raise InputError(f"{self.name} takes no --split; leave it out")
        SegmentConfig(manifest="", run="", **self.segment_options())

    def import_options(self, out: str) -> dict[str, Any]:
        """Return the options of `rvos import` to write to the folder `out`."""
        options: dict[str, Any] = {"dataset": self.name, "root": self.root, "out": out}
        if split := self.split or BENCHMARKS[self.name].split:
            options["split"] = split
        if self.name in RULES and RULES[self.name].context:
            options["context"] = int(self.window or RULES[self.name].window)
        return options

    def segment_options(self) -> dict[str, Any]:
        """Return the options of `rvos segment`, without its paths to manifest and run."""
        rules = {"rules": self.name} if self.name in RULES else {}
        given = {name: getattr(self, name) for name in PASSED_ON if getattr(self, name) != _OF_SEGMENT[name].default}
        return {"checkpoint": self.checkpoint, **rules, **given}
