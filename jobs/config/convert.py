"""Options of `rvos convert`."""

from jobs.config.options import argument, command_config, option
from model.referformer.config import PUBLISHED


@command_config
class ConvertConfig:
    """Convert a published ReferFormer checkpoint (.pth).

    Writes a folder for --checkpoint of 'rvos segment', 'rvos benchmark', 'rvos plan' and 'rvos check', and for 'rvos
    train --init'. Never runs code from CHECKPOINT. All paths are local.

        rvos convert ytvos_joint_resnet50.pth --backbone resnet50 --tokenizer roberta-base/ --out checkpoint/
    """

    checkpoint: str = argument(is_path=True)
    backbone: str = option(
        choices=tuple(PUBLISHED), metavar="NAME", help=f"Backbone of the checkpoint: {', '.join(PUBLISHED)}."
    )
    tokenizer: str = option(
        is_path=True, help="Folder with the tokenizer of roberta-base: tokenizer.json, or vocab.json and merges.txt."
    )
    out: str = option(is_path=True, help="New folder for config.json, model.safetensors and the tokenizer.")
