"""Options of a model, with which each process loads it."""

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version

from model.errors import WeightsError
from model.families import DEFAULT_RULES, load_refiner, load_segmenter
from model.segmenter import InferenceRules, Refining, Segmenter
from pipeline.io.checkpoint import checkpoint_folder, checkpoint_problem
from schemas.errors import InputError

MASK_PACKAGES = ("av", "torch", "transformers")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions:
    """Options with which an actor builds its segmenter."""

    checkpoint: str  # absolute, or BUNDLED
    device: str = "auto"
    threads: int | None = None  # torch threads on a CPU; None: torch's own choice
    short_side: int | None = None  # None: the default of the checkpoint
    max_size: int | None = None
    threshold: float = 0.5
    precision: str = "fp32"
    compiled: bool = False
    rules: InferenceRules = DEFAULT_RULES
    no_target_below: float | None = None  # None: the default of the checkpoint
    answer: str | None = None  # one mask of several instances; None: the default of the family
    refining: Refining | None = None  # a model that refines masks

    def load(self) -> Segmenter:
        import torch

        if self.threads:
            torch.set_num_threads(self.threads)
        # TF32 has the precision of fp16: fp32 would differ between kinds of GPU.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        with checkpoint_folder(self.checkpoint) as folder:
            try:
                return self._load(folder)
            except WeightsError as error:  # tensors of some families are first compared here
                raise InputError(checkpoint_problem(self.checkpoint, folder, error)) from None

    def _load(self, folder: str) -> Segmenter:
        if self.refining:
            return load_refiner(folder, device=self.device, precision=self.precision, refining=self.refining)
        return load_segmenter(
            folder,
            device=self.device,
            short_side=self.short_side,
            max_size=self.max_size,
            threshold=self.threshold,
            precision=self.precision,
            compiled=self.compiled,
            rules=self.rules,
            no_target_below=self.no_target_below,
            answer=self.answer,
        )

    def reference(self) -> Callable[[], Segmenter] | None:
        """Return a function that loads the same model on the CPU, in fp32; None if the model is on the CPU."""
        return replace(self, device="cpu", precision="fp32", compiled=False).load if self._on_gpu() else None

    def _on_gpu(self) -> bool:
        import torch

        return self.device != "cpu" and torch.cuda.is_available()

    def made_with(self) -> str:
        """Return the versions and the device that may change single pixels."""
        import torch

        device = torch.cuda.get_device_name() if self._on_gpu() else f"CPU ({platform.machine()})"
        return ", ".join([*(f"{name} {version(name)}" for name in MASK_PACKAGES), device])
