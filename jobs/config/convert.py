"""Options of `rvos convert`."""

from jobs.config.options import argument, command_config, option
from model.referformer.config import PUBLISHED
from schemas.errors import InputError


@command_config
class ConvertConfig:
    """Turn a published CHECKPOINT (.pth) into a checkpoint folder; no code in the file is run.

    \b
    rvos convert ytvos_joint_resnet50.pth --backbone resnet50 --tokenizer roberta-base/ --out checkpoint/
    """

    checkpoint: str = argument(is_path=True)
    backbone: str = option(
        choices=tuple(PUBLISHED),
        help="Backbone it was trained with.",
    )
    tokenizer: str = option(is_path=True, help="Folder with roberta-base's vocab.json and merges.txt.")
    out: str = option(is_path=True, help="New folder for config.json, model.safetensors and the tokenizer.")

    def __post_init__(self) -> None:
        if self.backbone not in PUBLISHED:
            raise InputError(f"--backbone {self.backbone!r} is none of {', '.join(PUBLISHED)}")
