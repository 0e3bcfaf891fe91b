"""Options of `rvos train`."""

from jobs.config.options import command_config, option
from schemas.errors import InputError


@command_config
class TrainConfig:
    """Train ReferFormer on annotations or pseudo-labels.

    The result is the checkpoint folder OUT/checkpoint. After an interruption repeat the command: it resumes from the
    last saved state with the same data in the same order. Rows without a target (object_ids empty) are trained as
    "no object".

        rvos train --data ytvos/manifest.parquet --annotations ytvos/ --init pretrained/ --out training/
        rvos train --data m.parquet --annotations runs/teacher --min-score 0.6 --init checkpoint/ --out student/
    """

    data: tuple[str, ...] = option(
        metavar="MANIFEST", is_path=True, heading="Data", help="Manifest to train on; repeatable."
    )
    annotations: tuple[str, ...] = option(
        is_path=True,
        heading="Data",
        help="Annotations of the manifest, or a run of 'rvos segment' as pseudo-labels; one for each --data.",
    )
    weight: tuple[float, ...] = option(
        default=(),
        least=0,
        heading="Data",
        help="Share of each --data in an epoch.  [default: its number of examples]",
    )
    min_score: float = option(
        default=0.0, least=0, most=1, heading="Data", help="Leave out pseudo-labels whose pair_score is lower."
    )
    heldout: str | None = option(
        default=None,
        metavar="MANIFEST",
        is_path=True,
        heading="Data",
        help="Manifest to score after each epoch, not trained on.",
    )
    heldout_annotations: str | None = option(
        default=None, metavar="ANNOTATIONS", is_path=True, heading="Data", help="Annotations of --heldout."
    )
    init: str | None = option(
        default=None,
        metavar="CHECKPOINT",
        is_path=True,
        heading="Model",
        help="Checkpoint folder to start from.  [default: fresh weights of the recipe's model]",
    )
    tokenizer: str | None = option(
        default=None,
        is_path=True,
        heading="Model",
        help="Folder with tokenizer files, for fresh weights.  [default: one token per byte]",
    )
    config: str | None = option(
        default=None,
        metavar="NAME|FILE",
        heading="Model",
        help="Recipe: a2d-sentences, images, joint, ref-youtube-vos, tiny-clips, tiny-motion, tiny-stills or a "
        "TOML file.  [default: ref-youtube-vos]",
    )
    device: str = option(
        default="auto",
        choices=("auto", "cpu", "cuda"),
        heading="Resources",
        help="Devices; auto takes all GPUs of the cluster, else one CPU process.",
    )
    workers: int | None = option(
        default=None, least=1, heading="Resources", help="Number of processes.  [default: one per GPU, else 1]"
    )
    address: str = option(
        default="local", metavar="local|auto|HOST:PORT", heading="Resources", help="Ray cluster to train on."
    )
    out: str = option(
        is_path=True, heading="Output", help="Folder for the log, the saved states, and the result OUT/checkpoint."
    )

    def __post_init__(self) -> None:
        for name, values in (("--annotations", self.annotations), ("--weight", self.weight or self.data)):
            if len(values) != len(self.data):
                raise InputError(f"got {len(self.data)} --data, but {len(values)} {name}; give one for each")
        if self.weight and not sum(self.weight) > 0:
            raise InputError("at least one --weight must be above 0")
        if (self.heldout is None) != (self.heldout_annotations is None):
            raise InputError("--heldout and --heldout-annotations need each other; give both or none")
