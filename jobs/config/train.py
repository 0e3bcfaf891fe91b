"""Options of `rvos train`."""

from jobs.config.options import command_config, option
from schemas.errors import InputError


@command_config
class TrainConfig:
    """Train ReferFormer on manifests with annotations; the result is a checkpoint folder, OUT/checkpoint.

    Repeat the command to go on after an interruption: it takes up its last state, with the same data in the same order.
    Rows without a target (object_ids empty) teach that nothing is meant.

    \b
    rvos train --data ytvos/manifest.parquet --annotations ytvos/ --init pretrained/ --out training/
    rvos train --data m.parquet --annotations runs/teacher --min-score 0.6 --init checkpoint/ --out student/
    """

    data: tuple[str, ...] = option(metavar="MANIFEST", is_path=True, help="Manifest to learn from; repeatable.")
    annotations: tuple[str, ...] = option(
        is_path=True, help="Its masks, or a run of 'rvos segment' as pseudo-labels; one for each --data."
    )
    out: str = option(is_path=True, help="Folder of the training: log, states to go on from, and OUT/checkpoint.")
    weight: tuple[float, ...] = option(
        default=(), least=0, help="Share of each --data in an epoch.  [default: by its number of samples]"
    )
    min_score: float = option(
        default=0.0, least=0, most=1, help="Of pseudo-labels, leave out pairs whose pair_score is lower."
    )
    heldout: str | None = option(
        default=None, metavar="MANIFEST", is_path=True, help="Manifest to score after each epoch, not learned from."
    )
    heldout_annotations: str | None = option(default=None, metavar="ANNOTATIONS", is_path=True, help="Its masks.")
    init: str | None = option(
        default=None,
        metavar="CHECKPOINT",
        is_path=True,
        help="Checkpoint folder to start from; else the recipe's [model], fresh.",
    )
    tokenizer: str | None = option(
        default=None,
        is_path=True,
        help="For fresh weights: folder with tokenizer files.  [default: one token per byte]",
    )
    config: str | None = option(
        default=None,
        metavar="NAME|FILE",
        help="Recipe: a2d-sentences, images, joint, ref-youtube-vos, tiny-clips, tiny-motion, tiny-stills or a "
        "TOML file.  [default: ref-youtube-vos]",
    )
    device: str = option(
        default="auto", choices=("auto", "cpu", "cuda"), help="auto: all GPUs of the cluster, else one CPU process."
    )
    workers: int | None = option(default=None, least=1, help="Processes.  [default: one per GPU, else 1]")
    address: str = option(default="local", metavar="local|auto|HOST:PORT", help="Ray cluster.")

    def __post_init__(self) -> None:
        if len(self.data) != len(self.annotations):
            raise InputError(
                f"{len(self.data)} times --data, but {len(self.annotations)} times --annotations; give one for each"
            )
        if self.weight and len(self.weight) != len(self.data):
            raise InputError(f"{len(self.weight)} times --weight for {len(self.data)} times --data; give one for each")
        if self.weight and not sum(self.weight) > 0:
            raise InputError("at least one --weight must be above 0")
        if (self.heldout is None) != (self.heldout_annotations is None):
            raise InputError("--heldout and --heldout-annotations go together")
