"""Early fusion: every pixel is weighed by the words it attends to (Wu et al., ReferFormer, section 3.2)."""

from torch import Tensor, nn

from model.referformer.network.text_encoder import TextFeatures
from model.referformer.network.word_attention import word_attention


class VisionLanguageFusion(nn.Module):
    """One attention for all levels. Its result multiplies the pixels: no residual, no norm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, pixels: Tensor, text: TextFeatures) -> Tensor:
        """pixels [B, T h w, C] -> [B, T h w, C]; pixels go in without position, words as keys with theirs."""
        return pixels * word_attention(self.multihead_attn, text)(pixels)
