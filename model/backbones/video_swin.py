"""Video-Swin transformer (Liu et al. 2022): windows over time as well; the stage outputs carry no norm."""

from torch import Tensor, nn

from model.backbones.windows import PatchMerging, Stage, drop_path_rates, init_linear, pad_to_patches
from model.config import VideoSwinConfig


class PatchEmbed(nn.Module):
    """[B, 3, T, H, W] -> one token per frame and patch [B, T, h, w, C]; time is not reduced."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv3d(3, dim, (1, patch, patch), stride=(1, patch, patch))
        self.norm = nn.LayerNorm(dim)

    def forward(self, frames: Tensor) -> Tensor:
        return self.norm(self.proj(pad_to_patches(frames, self.patch)).permute(0, 2, 3, 4, 1))


class VideoSwin(nn.Module):
    """Frames [B, T, 3, H, W] -> four maps [(B T), C, h, w]; frames of a clip see each other."""

    def __init__(self, config: VideoSwinConfig) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config.patch, config.embed_dim)
        rates = drop_path_rates(config.drop_path, config.depths)
        self.layers = nn.ModuleList(
            Stage(channels, config.window, config.heads[stage], rates[stage])
            for stage, channels in enumerate(config.channels)
        )
        self.downsamples = nn.ModuleList(PatchMerging(channels) for channels in config.channels[:-1])
        self.apply(init_linear)

    def forward(self, frames: Tensor) -> list[Tensor]:
        x = self.patch_embed(frames.transpose(1, 2))
        maps = []
        for number, stage in enumerate(self.layers):
            x = stage(x, shrink=True)
            maps.append(x.permute(0, 1, 4, 2, 3).flatten(0, 1))
            if number < len(self.downsamples):
                x = self.downsamples[number](x)
        return maps
