"""Read a file or folder of pretrained weights, and say what it seems to hold.

Nothing in it is executed: `.pth` files and pytorch_model.bin go through `read_pth`, other weights are safetensors.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model.errors import CheckpointError, read_document
from model.referformer.backbone_of import backbone_of
from model.referformer.pth import read_pth
from model.safetensors_header import require_small_header

CONFIG, WEIGHTS, INDEX, PICKLED = (
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
)
MAX_DOCUMENT_BYTES = 2**25  # of a JSON file; a config that names all 21,841 classes of ImageNet has about 2 MB
SHOWN = 3  # names in one message
_SHARD = re.compile(r"\w[\w.-]*\.safetensors")


@dataclass(frozen=True)
class PretrainedSource:
    """Tensors by their name in a file, and the config of a `transformers` folder; None for a `.pth` file."""

    path: Path
    tensors: dict[str, Tensor]
    config: dict[str, Any] | None

    @classmethod
    def read(cls, path: str | Path, *, folder_only: bool = False) -> "PretrainedSource":
        """Read a `.pth` file, or a folder of `transformers`. Raises CheckpointError."""
        path = Path(path)
        if not path.is_dir():
            if folder_only:
                raise CheckpointError(f"{path}: no such folder; give a folder with {CONFIG} and {WEIGHTS}")
            if path.name == PICKLED or path.suffix == ".safetensors":
                raise CheckpointError(f"{path}: a file of transformers; give its folder, with {CONFIG}")
            return cls(path, read_pth(path), None)
        files = weight_files(path)
        if not (path / CONFIG).is_file() or not files:
            raise CheckpointError(_lacks(path, WEIGHTS if (path / CONFIG).is_file() else CONFIG))
        config = read_document(path / CONFIG, MAX_DOCUMENT_BYTES)
        if not isinstance(config, dict):
            raise CheckpointError(f"{path / CONFIG}: it must hold an object; download the folder again")
        tensors: dict[str, Tensor] = {}
        for file in files:
            if file.name != INDEX:
                tensors |= _read_weights(file)
        return cls(path, tensors, config)

    def require_config(self, model_type: str, expected: Mapping[str, tuple[Any, Any]], way: str) -> None:
        """Raise CheckpointError, with `way`, unless a folder is of `model_type` and computes as the model here does.

        expected: key of config.json -> the value that the model needs, and the one that a missing key means.
        """
        values, config = {"model_type": (model_type, None)} | dict(expected), self.config or {}
        for key, (needed, default) in values.items():
            if (found := config.get(key, default)) != needed:
                what = f"no {key}, so it is not of transformers" if found is None else f"{key} is {found!r}"
                raise CheckpointError(f"{self.path / CONFIG}: {what}, but the model needs {needed!r}; {way}")


def weight_files(folder: Path) -> list[Path]:
    """Return the files with weights in a folder of `transformers`: one, or an index and its parts; [] without any.

    Raises CheckpointError if an index is damaged, or names a file that is not there.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / INDEX
    if not index.is_file():
        return [folder / PICKLED] if (folder / PICKLED).is_file() else []
    values = read_document(index, MAX_DOCUMENT_BYTES)
    names = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(names, dict) or not names:
        raise CheckpointError(f"{index}: it has no weight_map with the names of files; download it again")
    if odd := [name for name in names.values() if not isinstance(name, str) or not _SHARD.fullmatch(name)]:
        raise CheckpointError(f"{index}: {odd[0]!a} is not the name of a file of safetensors next to it")
    parts = [folder / name for name in sorted(set(names.values()))]
    if lacking := [part.name for part in parts if not part.is_file()]:
        raise CheckpointError(f"{index}: {lacking[0]} is not in the folder; download the folder again")
    return [index, *parts]


def _read_weights(path: Path) -> dict[str, Tensor]:
    if path.name == PICKLED:
        return read_pth(path)
    try:
        require_small_header(path)
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged or incomplete, fetch it again ({error})") from None


def _lacks(folder: Path, name: str) -> str:
    """Return a message for a folder without `name`, with the folder to give if it is one of the hub's cache."""
    snapshots = sorted(path.parent for path in folder.glob(f"snapshots/*/{CONFIG}"))
    way = f"a folder of transformers with {CONFIG} and {WEIGHTS}"
    return f"{folder}: no {name}; give {f'{snapshots[-1]}, {way}' if snapshots else way}"


def holds(tensors: Mapping[str, Tensor]) -> str:
    """Say what tensors, under the names of the authors' files, seem to be."""
    if any(name.startswith("transformer.decoder.") for name in tensors):
        if any(name.startswith("text_encoder.") for name in tensors):
            return "a whole ReferFormer, which --init takes after 'rvos convert'"
        return "a whole DETR, whose backbone is not read"
    if any(name.endswith(".attn.logit_scale") for name in tensors):
        return "a Swin V2, which computes in another way than Swin"
    embedding = tensors.get("embeddings.word_embeddings.weight")
    if embedding is not None and embedding.ndim == 2:
        layers = _count(tensors, r"encoder\.layer\.(\d{1,4})\.")
        tokens, width = embedding.shape
        return f"a text encoder of {layers} layer{'s' * (layers != 1)}, {width} wide, with {tokens} tokens"
    patches = tensors.get("patch_embed.proj.weight")
    if patches is not None and patches.ndim in (4, 5):
        name = "Video-Swin" if patches.ndim == 5 else "Swin"
        depths = tuple(_count(tensors, rf"layers\.{stage}\.blocks\.(\d{{1,4}})\.") for stage in range(4))
        sizes = f"{_joined(depths)} blocks, {patches.shape[0]} wide{_window(tensors, patches.ndim == 5)}"
        return f"a {name} of {sizes}{_in_brackets(tensors)}"
    depths = tuple(_count(tensors, rf"layer{stage}\.(\d{{1,4}})\.") for stage in range(1, 5))
    if all(depths):
        if "layer1.0.conv3.weight" not in tensors:
            return f"a ResNet of {_joined(depths)} basic blocks, as ResNet-18 and -34; the model has bottlenecks"
        return f"a ResNet of {_joined(depths)} bottlenecks{_in_brackets(tensors)}"
    names = list(tensors)
    more = " ..." if len(names) > SHOWN else ""
    return f"{len(names)} tensor{'s' * (len(names) != 1)}: {', '.join(names[:SHOWN])}{more}"


def sizes_of(tensors: Mapping[str, Tensor]) -> tuple[str, int, int] | None:
    """Return the blocks, the width behind the first layer and the rows of the first table of position biases.

    Of a Swin, Video-Swin or ResNet; None of another model.
    """
    found = re.match(r"a (?:Video-Swin|Swin|ResNet) of ([\d, ]+ (?:blocks|bottlenecks))", holds(tensors))
    first = tensors.get("patch_embed.proj.weight", tensors.get("conv1.weight"))
    return (found[1], len(first), len(_table(tensors))) if found and first is not None and first.ndim else None


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return 1 + max((int(found[1]) for name in tensors if (found := re.match(pattern, name))), default=-1)


def _joined(depths: tuple[int, ...]) -> str:
    return ", ".join(map(str, depths))


def _window(tensors: Mapping[str, Tensor], temporal: bool) -> str:
    """Return ", window SIDE" of a Swin; of a Video-Swin only if its windows are as wide as published ones."""
    rows = len(_table(tensors))
    if not temporal:
        side = (math.isqrt(rows) + 1) // 2
        return f", window {side}" if rows and (2 * side - 1) ** 2 == rows else ""
    return f", window {(rows // 169 + 1) // 2} x 7 x 7" if rows and rows % 169 == 0 else ""


def _table(tensors: Mapping[str, Tensor]) -> Tensor:
    return tensors.get("layers.0.blocks.0.attn.relative_position_bias_table", torch.empty(0, 1))


def published_name(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the published backbone with these sizes; None if there is none."""
    name = backbone_of(tensors)
    convolution = tensors.get("layer1.0.conv2.weight")
    if convolution is not None:  # a ResNet; those with other widths or groups have the same blocks
        return name if convolution.shape[:2] == (64, 64) else None
    return name if len(_table(tensors)) in (13 * 13, 15 * 13 * 13) else None


def _in_brackets(tensors: Mapping[str, Tensor]) -> str:
    name = published_name(tensors)
    return f" ({name})" if name else ""
