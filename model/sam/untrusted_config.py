"""Refuse a config.json of SAM that would make transformers fetch code, or take memory without a bound.

transformers takes more from a config than sizes: an implementation of attention may name a repository, whose code it
fetches and runs; a backbone or a quantisation may be one of another library.
"""

import re
from typing import Any

import torch

from model.input_size import MAX_SHORT_SIDE

MAX_NUMBER = 2**20  # far above any size of the published models; the largest is that of a vocabulary, 49,408
MAX_LAYERS = 512
MAX_ITEMS = 1000  # of a list
SLACK = 2**26  # numbers, such as those of positions, that a model makes itself
FAMILIES = re.compile(r"(sam2|sam3)[a-z0-9_]*|clip_text_model|")
ATTENTION = ("eager", "sdpa", None)
_CODE = ("auto_map", "quantization_config", "compression_config", "custom_pipelines", "adapter_config")
_LAYERS = re.compile(r".*num_(\w+_)?(layers|stages|blocks|levels|outputs)|blocks_per_stage|(\w+_)?depths?")


def require_harmless(values: Any, name: str = "") -> None:
    """Raise ValueError for a value in a config that names code or another kind of model, or that is absurdly large."""
    if isinstance(values, dict):
        for key, value in values.items():
            _require_known(str(key), value)
            require_harmless(value, str(key))
    elif isinstance(values, list):
        if len(values) > MAX_ITEMS:
            raise ValueError(f"{name} has {len(values)} values, more than any model")
        if _LAYERS.fullmatch(name) and sum(value for value in values if isinstance(value, int)) > MAX_LAYERS:
            raise ValueError(f"{name} are more than {MAX_LAYERS} layers together")
        for value in values:
            require_harmless(value, name)
    elif isinstance(values, int | float):
        most = MAX_SHORT_SIDE if "image_size" in name else MAX_LAYERS if _LAYERS.fullmatch(name) else MAX_NUMBER
        if not abs(values) <= most:  # neither is NaN, which JSON has not, but Python reads
            raise ValueError(f"{name} is {values}, not a number up to {most}")


def require_weights(kind: Any, config: Any, file_bytes: int) -> None:
    """Raise ValueError if a model of `config` would have more numbers than its files have bytes."""
    with torch.device("meta"):
        model = kind(config)
    count = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    if count > file_bytes + SLACK:
        raise ValueError(f"its config describes a model of {count} numbers, its weights have {file_bytes} bytes")


def _require_known(key: str, value: Any) -> None:
    if key in _CODE and value is not None:
        raise ValueError(f"{key} is not supported; remove it if the weights are plain")
    if key.endswith(("attn_implementation", "experts_implementation")) or "_implementation_" in key:
        parts = value.values() if isinstance(value, dict) else [value]
        if odd := [part for part in parts if part not in ATTENTION and not isinstance(part, bool)]:
            raise ValueError(f"{key} is {odd[0]!r}, which may be code of others; remove it, or write sdpa")
    if key == "model_type" and not (isinstance(value, str) and FAMILIES.fullmatch(value)):
        raise ValueError(f"a part of it has the model_type {value!r}, which SAM has not")
