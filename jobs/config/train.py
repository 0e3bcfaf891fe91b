"""Options of `rvos train`."""

from jobs.config.media_options import MediaOptions
from jobs.config.options import cluster_address, command_config, finish_command, option
from model.referformer.config import PUBLISHED
from pipeline.training.recipes import RECIPES
from schemas import kinds
from schemas.errors import InputError


@command_config
class TrainConfig(MediaOptions):
    """Train ReferFormer on annotations or pseudo-labels.

    Writes the checkpoint folder OUT/checkpoint. After an interruption, repeat the command: it resumes from the last
    saved state, with the same data in the same order. If the annotations are by object, rows with an empty object_ids
    are trained as "no object".

        rvos train --data ytvos/manifest.parquet --annotations ytvos/ --init pretrained/checkpoint --out training/
        rvos train --data m.parquet --annotations runs/teacher --min-score 0.6 --init checkpoint/ --out student/
        rvos train --data coco.parquet --annotations coco/ --backbone-weights swin/ --text-weights roberta-base/
            --backbone swin_t_p4w7 --config images --out pretrained/
    """

    data: tuple[str, ...] = option(
        metavar="MANIFEST", takes=kinds.MANIFEST, heading="Data", help="Manifest to train on. Repeatable."
    )
    annotations: tuple[str, ...] = option(
        takes=kinds.ANNOTATIONS,
        heading="Data",
        help="Annotations of the manifest, or a run, whose masks are pseudo-labels. Give one for each --data.",
    )
    weight: tuple[float, ...] = option(
        default=(),
        least=0,
        heading="Data",
        help="Relative weight of each --data in an epoch. Give one for each.  [default: its number of examples]",
    )
    min_score: float = option(
        default=0.0,
        least=0,
        most=1,
        heading="Data",
        help="Leave out pseudo-labels whose pair_score is below X; a null score counts as 1.",
    )
    heldout: str | None = option(
        default=None,
        metavar="MANIFEST",
        takes=kinds.MANIFEST,
        heading="Data",
        help="Manifest of held-out pairs, which are not trained on. They are scored after each epoch and, if the "
        "recipe has heldout_steps, more often.",
    )
    heldout_annotations: str | None = option(
        default=None,
        metavar="ANNOTATIONS",
        takes=kinds.ANNOTATIONS,
        heading="Data",
        help="Annotations of --heldout.",
    )
    init: str | None = option(
        default=None,
        metavar="CHECKPOINT",
        takes=kinds.CHECKPOINT,
        heading="Model",
        help="Checkpoint folder to start from.  [default: random weights of the recipe's model]",
    )
    backbone: str | None = option(
        default=None,
        choices=tuple(PUBLISHED),
        metavar="NAME",
        heading="Model",
        help=f"Without --init: build the published model with this backbone, {', '.join(PUBLISHED)}.  [default: the "
        "recipe's model]",
    )
    backbone_weights: str | None = option(
        default=None,
        metavar="FILE|DIR",
        takes=kinds.BACKBONE_WEIGHTS,
        heading="Model",
        help="Without --init: start the backbone from these weights: a .pth file of torchvision (ResNet), or of the "
        "authors of Swin or Video-Swin; or a folder of the library transformers (ResNet, Swin). Weights of a Swin are "
        "inflated over time for a Video-Swin.",
    )
    text_weights: str | None = option(
        default=None,
        metavar="DIR",
        takes=kinds.TEXT_WEIGHTS,
        heading="Model",
        help="Without --init: start the text encoder from this folder: roberta-base with config.json, its "
        "weights (safetensors or pytorch_model.bin) and its tokenizer.",
    )
    tokenizer: str | None = option(
        default=None,
        takes=kinds.TOKENIZER,
        heading="Model",
        help="Folder with tokenizer files, for training without --init.  [default: that of --text-weights, or a new "
        "one, from the expressions of --data]",
    )
    config: str | None = option(
        default=None,
        metavar="NAME|FILE",
        takes=kinds.RECIPE,
        names=RECIPES,
        heading="Model",
        help=f"Training recipe (settings): {', '.join(RECIPES)}, or a TOML file.  [default: ref-youtube-vos]",
    )
    device: str = option(
        default="auto",
        choices=("auto", "cpu", "cuda"),
        heading="Resources",
        help="Device to train on; auto takes all GPUs of the cluster or, without any, the CPU. On a cluster "
        "that has no GPU yet (--address), give --device cuda and --workers N: the command requests N GPUs and waits.",
    )
    workers: int | None = option(
        default=None, least=1, heading="Resources", help="Number of processes.  [default: one per GPU, else 1]"
    )
    address: str = cluster_address("local", help="Ray cluster to train on.")
    patience: float = option(
        default=600.0,
        above=0,
        metavar="SECONDS",
        heading="Resources",
        help="If the processes wait for GPUs or CPUs longer than SECONDS, print what the command waits for. If the "
        "cluster has no node left, end with exit code 3.",
    )
    out: str = option(
        takes=kinds.NEW_FOLDER,
        heading="Output",
        help="Folder for the log, the saved states, and the result OUT/checkpoint.",
    )
    on_finish: str | None = finish_command("OUT")

    def __post_init__(self) -> None:
        for name, values in (("--annotations", self.annotations), ("--weight", self.weight or self.data)):
            if len(values) != len(self.data):
                raise InputError(f"got {len(self.data)} --data, but {len(values)} {name}; give one for each")
        if self.weight and not sum(self.weight) > 0:
            raise InputError("at least one --weight must be above 0")
        if len(set(zip(self.data, self.annotations, strict=True))) < len(self.data):
            raise InputError("got a pair of --data and --annotations twice; give it once, with a larger --weight")
        if (self.heldout is None) != (self.heldout_annotations is None):
            raise InputError("got only one of --heldout and --heldout-annotations; give both or none")
        if self.init is not None:
            for name in ("backbone", "backbone_weights", "text_weights", "tokenizer"):
                if getattr(self, name) is not None:
                    raise InputError(
                        f"--{name.replace('_', '-')} needs fresh weights, but the checkpoint of --init has its own; "
                        "omit one of them"
                    )
