"""Options of `rvos convert`."""

from jobs.config.options import argument, command_config, option
from model.referformer.config import PUBLISHED
from schemas import kinds


@command_config
class ConvertConfig:
    """Convert a published ReferFormer checkpoint (.pth).

    Writes a checkpoint folder. Give it to other commands as --checkpoint, or to 'rvos train' as --init. Never runs code
    from CHECKPOINT.

        rvos convert ytvos_joint_resnet50.pth --tokenizer roberta-base/ --out checkpoint/
    """

    checkpoint: str = argument(takes=kinds.PUBLISHED)
    backbone: str | None = option(
        default=None,
        choices=tuple(PUBLISHED),
        metavar="NAME",
        help=f"Backbone of the checkpoint: {', '.join(PUBLISHED)}.  [default: found in the file]",
    )
    tokenizer: str = option(
        takes=kinds.TOKENIZER,
        help="Folder with the tokenizer of roberta-base: tokenizer.json, or vocab.json and merges.txt.",
    )
    out: str = option(
        takes=kinds.NEW_FOLDER, help="New or empty folder for config.json, model.safetensors and the tokenizer."
    )
