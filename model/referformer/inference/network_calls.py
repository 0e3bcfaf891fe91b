"""Calls of the network, within the memory of the device: videos once per window, sentences once each."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.memory import BatchSizer
from model.referformer.inference.preprocess import normalize
from model.referformer.network.referformer import Decoding, ReferFormer, VideoFeatures
from model.referformer.network.text_encoder import TextFeatures
from model.referformer.tokenizer import Tokenizer
from model.segmenter import InferenceRules

CACHED_SENTENCES = 1024


class NetworkCalls:
    """A network on its device with its tokenizer. `dtype` is that of autocast; float32 for none."""

    def __init__(
        self, model: ReferFormer, tokenizer: Tokenizer, device: torch.device, dtype: torch.dtype, rules: InferenceRules
    ) -> None:
        self.model, self.tokenizer, self.rules = model, tokenizer, rules
        self.device, self.dtype = device, dtype
        self.batch_sizer = BatchSizer(self.device)
        self._text_features = lru_cache(maxsize=CACHED_SENTENCES)(self._encode_text)

    def count_tokens(self, expression: str) -> int:
        """Count the tokens of a sentence, start and end included."""
        return self.tokenizer.count(self._words(expression))

    def encode_video(self, frames: Sequence[np.ndarray], only: int | None) -> VideoFeatures:
        """Encode a window of frames, uint8 [h, w, 3]. With `only`, just the backbone sees the other frames."""
        pixels = self._upload(frames)
        chosen = None if only is None else torch.tensor([only], device=self.device)

        def encode(_: int, frames_at_once: int | None) -> VideoFeatures:
            self.model.frames_at_once = frames_at_once
            clip, padding = self._pad(normalize(pixels)[None])
            with self.autocast():
                return self.model.encode_video(clip, padding=padding, valid_indices=chosen)

        return self.batch_sizer.run(encode, pixels.shape[:3].numel(), len(frames))

    def decode(self, video: VideoFeatures, expressions: Sequence[str], shape: tuple[int, ...]) -> tuple[Decoding, int]:
        """Decode as many of the expressions as memory allows, from the first on. Also returns their number.

        shape: T, h, w of the frames to decode.
        """

        def decode(sentences: int, frames_at_once: int | None) -> tuple[Decoding, int]:
            text = TextFeatures.stack([self._text_features(expression) for expression in expressions[:sentences]])
            self.model.frames_at_once = frames_at_once
            with self.autocast():
                return self.model.decode(video, text), sentences

        return self.batch_sizer.run(decode, math.prod(shape), shape[0], len(expressions))

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Infer in the reduced precision, if there is one."""
        reduced = self.dtype != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, enabled=reduced):
            yield

    def _upload(self, frames: Sequence[np.ndarray]) -> Tensor:
        """Copy frames to the device, uint8 [T, h, w, 3]; to a GPU from pinned memory, without waiting for the copy."""
        stacked = torch.empty((len(frames), *frames[0].shape), dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        np.stack(frames, out=stacked.numpy())
        return stacked.to(self.device, non_blocking=True)

    def _pad(self, clip: Tensor) -> tuple[Tensor, Tensor | None]:
        """Pad a clip [1, T, 3, h, w] as the rules ask for. Returns the padding too, bool [1, T, h, w]; None without."""
        right, bottom = (-side % self.rules.pad_to for side in (clip.shape[-1], clip.shape[-2]))
        if not right and not bottom:
            return clip, None
        inside = clip.new_zeros((*clip.shape[:2], *clip.shape[3:]), dtype=torch.bool)
        return F.pad(clip, (0, right, 0, bottom)), F.pad(inside, (0, right, 0, bottom), value=True)

    def _words(self, expression: str) -> str:
        return " ".join(expression.lower().split()) if self.rules.lower_case else expression

    def _encode_text(self, expression: str) -> TextFeatures:
        with self.autocast():
            return self.model.encode_text(self.tokenizer([self._words(expression)]).to(self.device))
