"""Training recipes, read from TOML files.

`--config` takes the name of one in recipes/, or a path.
"""

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from model.input_size import MAX_LONG_SIDE, MAX_SHORT_SIDE
from model.referformer.config import QualityConfig, ReferFormerConfig
from model.referformer.inference.segmenter import PRECISIONS
from model.referformer.training.matcher import Coefficients
from model.referformer.training.optimizer import Rates
from pipeline.io import storage
from pipeline.training.augment import Augmentation
from pipeline.training.recipes import FOLDER, RECIPES
from pipeline.training.sampling import clip_frames, consecutive_frames
from schemas.errors import InputError, StorageError

MAX_BYTES = 2**20
MAX_DOTS = 200  # of a line: a key with many takes memory by the square of their number
MAX_NUMBER = 2**31
MOST = {"clips": 4096, "frames": 4096, "short_side": MAX_SHORT_SIDE, "max_size": MAX_LONG_SIDE}
SCHEDULES = ("steps", "cosine")
SAMPLINGS = {"published": clip_frames, "consecutive": consecutive_frames}


@dataclass(frozen=True, kw_only=True)
class SmallModelOptions:
    """Options that help small models and are not in the paper. The defaults are the paper's way."""

    schedule: str = "steps"  # of the learning rates; or "cosine", down to 0 at the last of `drops`
    warmup: float = 0.0  # epochs
    sampling: str = "published"  # how the frames of a clip are chosen; or "consecutive"
    context: bool = False  # one frame of each clip has a target, only the backbone uses the others, as for A2D
    sentences: int = 1  # per clip and step; they share one backbone pass
    full_masks: bool = False  # mask losses at the input size; published: at stride 4
    half_weights: bool = False  # write the result in float16, half the size; models run in float32 anyway

    def __post_init__(self) -> None:
        if self.sentences < 1:
            raise ValueError(f"small.sentences must be at least 1, got {self.sentences}")
        if not 0 <= self.warmup < math.inf:
            raise ValueError(f"small.warmup must be 0 or more, got {self.warmup}")
        for name, choices in (("schedule", SCHEDULES), ("sampling", SAMPLINGS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"small.{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The defaults are those of the published fine-tuning on Ref-YouTube-VOS, for eight processes of one clip each."""

    epochs: int = 6
    drops: tuple[float, ...] = (3, 5)  # epochs after which the learning rates are divided by ten
    clips: int = 1  # per process and step
    frames: int = 5  # per clip
    one_target: bool = False  # each annotated frame is a sample; only it has a loss, the others are context (A2D)
    rates: Rates = field(default_factory=Rates)
    weight_decay: float = 5e-4
    clip_norm: float = 0.1  # of all gradients together
    freeze_text_encoder: bool = True
    fresh_class_heads: bool = True  # with --init: initialise the class heads again, as published
    quality: QualityConfig | None = None  # with --init of a model without a quality head: add a fresh one
    coefficients: Coefficients = field(default_factory=Coefficients)
    augmentation: Augmentation = field(default_factory=Augmentation)
    short_side: int = 360  # of held-out frames; also the default input size of the checkpoint
    max_size: int = 640
    precision: str = "fp32"  # or "bf16", "fp16", by autocast; weights and losses stay fp32
    gradient_checkpointing: bool = False  # recompute activations in the backward pass: slower, much less memory
    checkpoint_steps: int = 500  # optimizer steps between saved states
    log_steps: int = 20
    heldout_steps: int = 0  # optimizer steps between held-out scores; 0: after each epoch only
    seed: int = 42
    small: SmallModelOptions = field(default_factory=SmallModelOptions)
    model: ReferFormerConfig | None = None  # the model to build without --init

    def __post_init__(self) -> None:
        for name in ("epochs", "clips", "frames", "checkpoint_steps", "log_steps", "short_side", "max_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, most in MOST.items():
            if getattr(self, name) > most:
                raise ValueError(f"{name} must be at most {most}, got {getattr(self, name)}")
        if self.short_side > self.max_size:
            raise ValueError(f"short_side is {self.short_side}, but max_size, of the longer side, is {self.max_size}")
        for name in ("weight_decay", "heldout_steps", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if not 0 < self.clip_norm < math.inf:
            raise ValueError(f"clip_norm must be above 0, and finite, got {self.clip_norm}")
        if not all(drop > 0 for drop in self.drops) or list(self.drops) != sorted(self.drops):
            raise ValueError(f"drops must be epochs above 0 in ascending order, got {list(self.drops)}")
        for part in ("rates", "coefficients"):
            for name, value in asdict(getattr(self, part)).items():
                if not 0 <= value < math.inf:
                    raise ValueError(f"{part}.{name} must be 0 or more, got {value}")
        if not any(asdict(self.rates).values()):
            raise ValueError("all rates are 0, so nothing would be trained")
        if self.small.warmup >= self.epochs:
            raise ValueError(f"small.warmup must be shorter than the {self.epochs} epochs, got {self.small.warmup}")
        if self.small.sentences > 1 and self.augmentation.crop:
            raise ValueError("small.sentences above 1 need augmentation.crop = 0: a crop can remove one of the objects")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.small.schedule == "cosine" and not self.drops:
            raise ValueError('schedule = "cosine" ends at the last of drops; give at least one')

    def fingerprint_inputs(self) -> dict:
        """Return all values, in the form of trainings begun before later keys existed."""
        values = asdict(self)
        small = values.pop("small")
        if not self.one_target:
            del values["one_target"]
        if self.quality is None:
            del values["quality"]
        if self.rates.quality == Rates.quality:
            del values["rates"]["quality"]
        for name in ("quality", "mask_boxes"):
            if self.model and not getattr(self.model, name):
                del values["model"][name]
        return values | small


def read_recipe(name: str | None) -> Recipe:
    """Read a recipe by its name in RECIPES or from a TOML file. None: the defaults. Raises InputError."""
    if name is None:
        return Recipe()
    uri = str(FOLDER / f"{name}.toml") if name in RECIPES else name
    try:
        text = storage.read_bytes(uri, limit=MAX_BYTES).decode("utf-8")
        if any(line.count(".") > MAX_DOTS for line in re.split(r"[\r\n]", text)):
            raise InputError(f"--config {name}: a line has more than {MAX_DOTS} dots; divide it")
        values = tomllib.loads(text)
    except StorageError:
        raise
    except OSError as error:
        known = ", ".join(RECIPES)
        raise InputError(f"--config {name}: {error.strerror}; give a TOML file or a recipe: {known}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"--config {name} is not TOML: {error}") from None
    except ValueError:  # of Python, for thousands of digits
        raise InputError(f"--config {name}: a number in it has too many digits") from None
    try:
        return _build(Recipe, values, "")
    except (TypeError, ValueError) as error:
        raise InputError(f"--config {name}: {error}") from None


def _build(cls: Any, values: Mapping[str, Any], where: str) -> Any:
    known = {item.name for item in fields(cls)}
    if cls is Recipe and (moved := sorted(set(values) & {item.name for item in fields(SmallModelOptions)})):
        raise ValueError(f"{', '.join(moved)} must be in the table [small]; move to below a line '[small]'")
    if unknown := sorted(set(values) - known):
        raise ValueError(f"unknown {', '.join(where + key for key in unknown)}; choose from {', '.join(sorted(known))}")
    hints = get_type_hints(cls)
    return cls(**{key: _convert(hints[key], value, where + key) for key, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, UnionType):
        (hint,) = (kind for kind in get_args(hint) if kind is not NoneType)
    if hint is ReferFormerConfig:
        if isinstance(value, str):
            return ReferFormerConfig.published(value)
        return ReferFormerConfig.from_dict(value)
    if is_dataclass(hint):
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be a table, got {value!r}")
        return _build(hint, value, f"{where}.")
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list, got {value!r}")
        kind = get_args(hint)[0]
        return tuple(_convert(kind, item, where) for item in value)
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise ValueError(f"{where} must be at most {MAX_NUMBER}, got a number of {value.bit_length()} bits")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ValueError(f"{where} must be {hint.__name__}, got {value!r}")
    return value
