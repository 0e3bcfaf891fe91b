"""Recorded numbers of the reference model: weights and inputs that follow from names, and the comparison.

A folder of recordings holds `cases/<case>.json` + `.npz` (forward passes, post-processing, transforms),
`training/cases/` (losses, training steps, augmentation) and `keys/<backbone>.json` (state-dict names and shapes). Its
default place is `tests/golden/parity`; the environment
variable RVOS_PARITY_DIR names another one, of which everything is then run; it may lack parts.

The fill rule, for a name and a shape: sha256(salt + name), first 8 bytes little-endian, seeds PCG64; the four
16-bit lanes of each raw word are summed, centred and scaled to variance 1. Offsets and scales go by name.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.reference import ABSENT, named_folder

GOLDEN = Path(__file__).parent / "golden" / "parity"
LANES = 4
DEVIATION = math.sqrt(LANES * (65536**2 - 1) / 12)
LOW_LANES = np.uint64(0x0000FFFF0000FFFF)
BLOCK = 2**18

ALIAS, SHARED = "transformer.decoder.bbox_embed.", "bbox_embed."
UNIT_SCALE = ("query_embed.weight", "transformer.level_embed", "text_encoder.embeddings.*_embeddings.weight")
GAINS = {
    "controller.layers.2.weight": 0.6,
    "bbox_embed.*.layers.2.weight": 2.0,
    "class_embed.*.weight": 2.0,
    "pixel_decoder.mask_features.weight": 2.0,
    "text_encoder.encoder.layer.*.attention.self.query.weight": 2.5,
    "text_encoder.encoder.layer.*.attention.self.key.weight": 2.5,
    "text_encoder.encoder.layer.*.output.dense.weight": 0.5,
    "*.attention_weights.weight": 2.0,
    "*.in_proj_weight": 1.6,
    "*.attn.qkv.weight": 1.6,
    "backbone.*.conv[123].weight": 1.1,
}
LIMITS = {
    "pred_logits": 3e-4,
    "pred_boxes": 5e-5,
    "reference_points": 5e-5,
    "pred_masks": 4e-3,
}  # where a recording brings none of its own


def folder() -> Path:
    """Where the recordings lie. Raises NotADirectoryError for a folder of RVOS_PARITY_DIR that does not exist."""
    return named_folder("RVOS_PARITY_DIR", GOLDEN)


def params(pattern: str, wanted: Callable[[dict], bool] = bool, slow: Callable[[dict], bool] = lambda _: False) -> list:
    """Parameters of a test: the recordings that match a glob below `folder()`; without any, one that skips the test.

    They are sorted by salt and backbone, so that filled models can be shared. A case without its arrays is skipped too.
    """
    found = [(path, json.loads(path.read_text())) for path in sorted(folder().glob(pattern))]
    found = sorted(
        ((path, info) for path, info in found if wanted(info)),
        key=lambda entry: [str(entry[1].get(key)) for key in ("salt", "backbone")],
    )
    return [_param(path, [pytest.mark.slow] if slow(info) else []) for path, info in found] or [_absent(pattern)]


def _param(path: Path, marks: list[pytest.MarkDecorator]) -> Any:
    arrays = path.with_suffix(".npz")
    if path.parent.name == "cases" and not arrays.exists():
        return _absent(arrays.name)
    return pytest.param(path, id=path.stem, marks=marks)


def _absent(name: str) -> Any:
    skip = pytest.mark.skip(reason=f"{ABSENT}: no {name} in {folder()}")
    return pytest.param(None, id="absent", marks=skip)


def normal(name: str, shape: tuple[int, ...], salt: str = "") -> np.ndarray:
    """float64 of the given shape, mean 0, variance 1, the same on every machine."""
    return _samples(name, math.prod(shape), salt).reshape(shape)


def fill(name: str, shape: tuple[int, ...], salt: str = "") -> np.ndarray:
    """float32 values of one entry of the state dict."""
    name = SHARED + name.removeprefix(ALIAS) if name.startswith(ALIAS) else name
    values = normal(name, shape, salt)
    offset, scale = _scale(name, shape)
    if name.endswith(".running_var"):
        np.abs(values, out=values)
    values *= scale
    values += offset
    return values.astype(np.float32)


def clip(key: str, frames: int, height: int, width: int, salt: str = "") -> np.ndarray:
    """float32 [T, 3, H, W]: a still pattern that wanders to the right, patterns of each frame, noise."""
    still = 0.8 * _blocks(f"frames/{key}/b16", 16, (3,), height, width, salt)
    still += 0.5 * _blocks(f"frames/{key}/b4", 4, (3,), height, width, salt)
    moving = np.stack([np.roll(still, 2 * t, axis=-1) for t in range(frames)])
    moving = moving + 0.5 * _blocks(f"frames/{key}/b8", 8, (frames, 3), height, width, salt)
    return (moving + 0.2 * _blocks(f"frames/{key}/b1", 1, (frames, 3), height, width, salt)).astype(np.float32)


def image(key: str, height: int, width: int, salt: str = "") -> np.ndarray:
    """uint8 [H, W, 3]: blocks of 8 pixels and noise."""
    small = normal(f"uint8/{key}/b8", (-(-height // 8), -(-width // 8), 3), salt)
    blocks = small.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    values = 128 + 50 * blocks + 12 * normal(f"uint8/{key}/b1", (height, width, 3), salt)
    return np.floor(values).clip(0, 255).astype(np.uint8)


def synthetic_logits(key: str, shape: list[int], salt: str = "") -> torch.Tensor:
    """Class logits of the post-processing recordings."""
    return torch.from_numpy((2 * normal(f"post/logits/{key}", tuple(shape), salt)).astype(np.float32))


def synthetic_masks(key: str, shape: list[int], salt: str = "") -> torch.Tensor:
    """Mask logits of the post-processing recordings."""
    *lead, height, width = shape
    blocks = _blocks(f"post/masks/{key}/b4", 4, tuple(lead), height, width, salt)
    return torch.from_numpy((4 * blocks + normal(f"post/masks/{key}/b1", tuple(shape), salt)).astype(np.float32))


class Recording:
    """One case: its description, inputs built anew, and the comparison with what was recorded."""

    def __init__(self, path: Path) -> None:
        self.info = json.loads(path.read_text())
        self.arrays = np.load(path.with_suffix(".npz"))
        self.salt = self.info["salt"]
        self.tensors = self.info.get("tensors", {})

    def clips(self) -> list[np.ndarray]:
        """Clips without padding, checked against their recorded digests."""
        clips = []
        for entry in self.info["clips"]:
            values = clip(entry["key"], entry["frames"], entry["height"], entry["width"], self.salt)
            assert hashlib.sha256(values.tobytes()).hexdigest()[:16] == entry["sha256_16"], "the fill rule is off"
            clips.append(values)
        return clips

    def frames(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Batch padded with zeros to the right and below [B, T, 3, H, W], and its padding [B, T, H, W]."""
        frames = torch.zeros(self.info["padded_shape"])
        padding = torch.ones(frames[:, :, 0].shape, dtype=torch.bool)
        for row, hidden, values in zip(frames, padding, self.clips(), strict=True):
            length, _, height, width = values.shape
            row[:length, :, :height, :width] = torch.from_numpy(values)
            hidden[:length, :height, :width] = False
        return frames, padding

    def tokens(self) -> tuple[torch.Tensor, torch.Tensor]:
        """ids [B, L], padded with 1, and the mask of real ones."""
        rows = [torch.tensor(row) for row in self.info["token_ids"]]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=1)
        lengths = torch.tensor([len(row) for row in rows])
        return ids, torch.arange(ids.shape[1]) < lengths[:, None]

    def miss(self, name: str, value: torch.Tensor) -> str | None:
        """None if a tensor agrees with its recording, else by how much it does not."""
        entry = self.tensors[name]
        found = value.detach().cpu().numpy()
        if list(found.shape) != entry["shape"]:
            return f"{name}: shape {list(found.shape)}, recorded {entry['shape']}"
        sampled = entry["stored"] == "sample"
        recorded = self.arrays[f"{name}@sample" if sampled else name]
        if sampled:
            found = found.reshape(-1)[:: entry["stride"]]
        if recorded.dtype == np.bool_:
            wrong = int((found.astype(bool) != recorded).sum())
            return f"{name}: {wrong} wrong" if wrong else None
        largest = max(map(abs, entry["mean_std_abssum_min_max"][3:]))
        limit = entry.get("limit", LIMITS.get(name, 1e-4 * max(largest, 1e-3)))
        error = float(np.abs(found.astype(np.float64) - recorded).max())
        return None if error <= limit else f"{name}: off by {error:.2e}, allowed {limit:.2e}"


@dataclass(frozen=True)
class Annotated:
    """Target of one clip of a training recording."""

    masks: np.ndarray  # uint8 [T, H, W]
    boxes: np.ndarray  # float32 [T, 4], cx, cy, w, h in 0..1
    present: np.ndarray  # bool [T]
    label: int


class TrainingRecording(Recording):
    """One training case. Frames are "ok", "absent", "boxless" (a mask, no box) or "hidden" (a box, no mask)."""

    def annotated(self) -> list[Annotated]:
        """Targets without padding."""
        return [_annotated(entry, self.salt) for entry in self.info["clips"]]

    def clips(self) -> list[np.ndarray]:
        """Clips without padding, checked against their recorded digests."""
        found = [clip(e["key"], e["frames"], e["height"], e["width"], self.salt) for e in self.info["clips"]]
        digests = [hashlib.sha256(values.tobytes()).hexdigest()[:16] for values in found]
        assert digests == self.info["frames_sha256_16"], "the fill rule is off"
        return found

    def padded_masks(self) -> np.ndarray:
        """uint8 [B, T, H, W]: all of one size, a multiple of 32."""
        masks = [annotated.masks for annotated in self.annotated()]
        height, width = (-(-max(m.shape[axis] for m in masks) // 32) * 32 for axis in (1, 2))
        return np.stack([np.pad(m, ((0, 0), (0, height - m.shape[1]), (0, width - m.shape[2]))) for m in masks])

    def predictions(self) -> dict[str, np.ndarray]:
        """Synthetic outputs, decoder layer first."""
        masks = self.padded_masks()
        layers = [self._layer(layer, masks) for layer in range(self.info["num_layers"])]
        return {f"pred_{name}": np.stack([layer[name] for layer in layers]) for name in layers[0]}

    def _layer(self, layer: int, masks: np.ndarray) -> dict[str, np.ndarray]:
        clips, frames, height, width = masks.shape
        queries, cells = self.info["num_queries"], (height // 16, width // 16)

        def drawn(what: str, *shape: int) -> np.ndarray:
            return normal(f"train/{self.info['case']}/{layer}/{what}", shape, self.salt)

        boxes = drawn("boxes", clips, frames, queries, 4) * [0.12, 0.12, 0.07, 0.07] + [0.5, 0.5, 0.3, 0.3]
        coarse = drawn("coarse", clips, frames, queries, *cells).repeat(4, axis=-2).repeat(4, axis=-1)
        logits = 1.2 * coarse + 0.6 * drawn("fine", clips, frames, queries, height // 4, width // 4)
        sign = 2.0 * masks[:, :, None, 2::4, 2::4] - 1.0
        logits = logits + np.abs(drawn("gain", clips, 1, queries, 1, 1)) * sign
        classes = 1.5 * drawn("logits", clips, frames, queries, self.info["num_classes"]) - 1.0
        return {"logits": _single(classes), "boxes": _single(boxes), "masks": _single(logits)}


def ellipses(key: str, frames: int, height: int, width: int, salt: str = "") -> np.ndarray:
    """uint8 [T, H, W]: one ellipse per frame, in whole numbers."""
    masks = np.zeros((frames, height, width), np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    for mask, (a, b, c, d) in zip(masks, normal(f"train/{key}/ellipse", (frames, 4), salt), strict=True):
        centre_x, centre_y = width // 2 + math.floor(a * width / 10), height // 2 + math.floor(b * height / 10)
        half_w = max(4, width // 5 + math.floor(c * width / 25))
        half_h = max(4, height // 5 + math.floor(d * height / 25))
        inside = ((x - centre_x) * half_h) ** 2 + ((y - centre_y) * half_w) ** 2 <= (half_w * half_h) ** 2
        mask[inside] = 1
    return masks


def first_and_last(mask: np.ndarray) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2: the outermost pixel indices of a mask, as the published box."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1])


def _annotated(entry: dict, salt: str) -> Annotated:
    frames, height, width = entry["frames"], entry["height"], entry["width"]
    masks = ellipses(entry["key"], frames, height, width, salt)
    boxes, present = np.zeros((frames, 4)), np.ones(frames, dtype=bool)
    for t, kind in enumerate(entry["kinds"]):
        if kind in ("ok", "hidden"):
            x1, y1, x2, y2 = first_and_last(masks[t])
            boxes[t] = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
        present[t] = kind in ("ok", "hidden")
        if kind in ("absent", "hidden"):
            masks[t] = 0
    return Annotated(masks, boxes.astype(np.float32), present, entry["label"])


def _single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)


def _samples(name: str, count: int, salt: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256((salt + name).encode()).digest()[:8], "little")
    bits = np.random.PCG64(seed)
    values = np.empty(count)
    for start in range(0, count, BLOCK):
        words = bits.random_raw(min(BLOCK, count - start))
        pairs = (words & LOW_LANES) + ((words >> np.uint64(16)) & LOW_LANES)
        total = (pairs & np.uint64(0xFFFFFFFF)) + (pairs >> np.uint64(32))
        values[start : start + BLOCK] = (total.astype(np.int64) - 2 * 65535) / DEVIATION
    return values


def _scale(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """(offset, factor) of one entry."""
    if name.endswith(".running_var"):
        return 1.0, 0.1
    if name.endswith(".running_mean"):
        return 0.0, 0.1
    if name.endswith("relative_position_bias_table"):
        return 0.0, 0.5
    if any(fnmatchcase(name, pattern) for pattern in UNIT_SCALE):
        return 0.0, 1.0
    if name.endswith(".sampling_offsets.bias"):
        return 0.0, 1.5
    if len(shape) <= 1:
        return (1.0, 0.1) if name.endswith("weight") else (0.0, 0.1)
    gain = next((gain for pattern, gain in GAINS.items() if fnmatchcase(name, pattern)), 1.0)
    return 0.0, gain / math.sqrt(math.prod(shape[1:]))


def _blocks(name: str, cell: int, lead: tuple[int, ...], height: int, width: int, salt: str) -> np.ndarray:
    small = normal(name, (*lead, -(-height // cell), -(-width // cell)), salt)
    return small.repeat(cell, axis=-2).repeat(cell, axis=-1)[..., :height, :width]
