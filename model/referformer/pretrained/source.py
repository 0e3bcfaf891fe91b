"""Read a file or folder of pretrained weights, and say what it seems to hold.

Nothing in it is executed: `.pth` files go through `read_pth`, folders are safetensors with a config.json.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model.errors import CheckpointError, read_document
from model.referformer.backbone_of import backbone_of
from model.referformer.pth import read_pth
from model.safetensors_header import require_small_header

CONFIG, WEIGHTS = "config.json", "model.safetensors"
SHOWN = 3  # names in one message


@dataclass(frozen=True)
class PretrainedSource:
    """Tensors by their name in a file, and the config of a `transformers` folder; empty for a `.pth` file."""

    path: Path
    tensors: dict[str, Tensor]
    config: dict[str, Any]

    @classmethod
    def read(cls, path: str | Path, *, folder_only: bool = False) -> "PretrainedSource":
        """Read a `.pth` file, or a folder of `transformers`. Raises CheckpointError."""
        path = Path(path)
        if not path.is_dir():
            if folder_only:
                raise CheckpointError(f"{path}: no such folder; give a folder with {CONFIG} and {WEIGHTS}")
            return cls(path, read_pth(path), {})
        for name in (CONFIG, WEIGHTS):
            if not (path / name).is_file():
                raise CheckpointError(f"{path}: no {name}; give a folder of transformers with {CONFIG} and {WEIGHTS}")
        config = read_document(path / CONFIG)
        if not isinstance(config, dict):
            raise CheckpointError(f"{path / CONFIG}: it must hold an object")
        try:
            require_small_header(path / WEIGHTS)
            return cls(path, load_file(path / WEIGHTS), config)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path / WEIGHTS}: damaged or incomplete, fetch it again ({error})") from None

    def require_config(self, model_type: str, expected: Mapping[str, tuple[Any, Any]]) -> None:
        """Raise CheckpointError unless a folder is of `model_type` and computes as the model here does.

        expected: key of config.json -> the value that the model needs, and the one that a missing key means.
        """
        values = {"model_type": (model_type, None)} | dict(expected)
        for key, (needed, default) in values.items():
            if (found := self.config.get(key, default)) != needed:
                raise CheckpointError(f"{self.path / CONFIG}: {key} is {found!r}, but the model needs {needed!r}")


def holds(tensors: Mapping[str, Tensor]) -> str:
    """Say what tensors, under the names of the authors' files, seem to be."""
    if any(name.startswith("transformer.decoder.") for name in tensors):
        return "a whole ReferFormer, which --init takes after 'rvos convert'"
    embedding = tensors.get("embeddings.word_embeddings.weight")
    if embedding is not None and embedding.ndim == 2:
        layers = _count(tensors, r"encoder\.layer\.(\d{1,4})\.")
        return f"a text encoder of {layers} layers, {embedding.shape[1]} wide, with {embedding.shape[0]} tokens"
    patches = tensors.get("patch_embed.proj.weight")
    if patches is not None and patches.ndim in (4, 5):
        name = "Video-Swin" if patches.ndim == 5 else "Swin"
        depths = tuple(_count(tensors, rf"layers\.{stage}\.blocks\.(\d{{1,4}})\.") for stage in range(4))
        return f"a {name} of {_joined(depths)} blocks, {patches.shape[0]} wide{_published_name(tensors)}"
    depths = tuple(_count(tensors, rf"layer{stage}\.(\d{{1,4}})\.") for stage in range(1, 5))
    if all(depths):
        if "layer1.0.conv3.weight" not in tensors:
            return f"a ResNet of {_joined(depths)} basic blocks, as ResNet-18 and -34; the model has bottlenecks"
        return f"a ResNet of {_joined(depths)} bottlenecks{_published_name(tensors)}"
    names = list(tensors)
    return f"{len(names)} tensors: {', '.join(names[:SHOWN])}{' ...' if len(names) > SHOWN else ''}"


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return 1 + max((int(found[1]) for name in tensors if (found := re.match(pattern, name))), default=-1)


def _joined(depths: tuple[int, ...]) -> str:
    return ", ".join(map(str, depths))


def _published_name(tensors: Mapping[str, Tensor]) -> str:
    """Return " (NAME)" of the published backbone with these sizes, if there is one."""
    name = backbone_of(tensors)
    return f" ({name})" if name else ""
