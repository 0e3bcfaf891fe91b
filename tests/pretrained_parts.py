"""Small backbones and text encoders, and their weights in the forms of torchvision, the authors and transformers."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from model.referformer.config import ReferFormerConfig, TextConfig
from model.referformer.network.backbones.resnet import ResNetConfig
from model.referformer.network.backbones.swin import SwinConfig
from model.referformer.network.backbones.video_swin import VideoSwinConfig
from model.referformer.network.referformer import ReferFormer

RESNET = ResNetConfig(depths=(1, 2, 1, 1), widths=(4, 8, 8, 16))
SIZES = {"embed_dim": 8, "depths": (2, 2, 1, 1), "heads": (1, 2, 2, 4), "drop_path": 0.0}
SWIN, VIDEO = SwinConfig(**SIZES, window=3), VideoSwinConfig(**SIZES, window=(4, 3, 3))
TEXT = TextConfig(vocab_size=40, hidden_size=16, layers=2, heads=4, intermediate_size=24, max_positions=20)
SMALL = ReferFormerConfig(
    text=TEXT, hidden_dim=32, heads=2, feedforward_dim=16, encoder_layers=1, decoder_layers=1, mask_dim=8
)


def model(backbone) -> ReferFormer:
    torch.manual_seed(3)
    return ReferFormer(replace(SMALL, backbone=backbone)).eval()


def body(of: ReferFormer) -> torch.nn.Module:
    return of.get_submodule("backbone.0.body")


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """Give all values other than those that they are made with; variances stay above 0."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, x in module.state_dict().items():
            if x.is_floating_point():
                noise = torch.randn(x.shape, generator=generator) * 0.1
                x.copy_(noise.abs() + 0.5 if name.endswith("running_var") else x + noise)
    return module.eval()


def hub_folders(to: Path) -> dict[str, tuple[Path, Any]]:
    """Write folders as `transformers` does; return each with the model that was saved."""
    import transformers as hf

    resnet = hf.ResNetConfig(embedding_size=4, hidden_sizes=[16, 32, 32, 64], depths=list(RESNET.depths), num_labels=3)
    swin = hf.SwinConfig(
        embed_dim=8,
        depths=[2, 2, 1, 1],
        num_heads=[1, 2, 2, 4],
        window_size=3,
        image_size=136,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    roberta = hf.RobertaConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=24,
        max_position_embeddings=20,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    models = {
        "resnet": hf.ResNetForImageClassification(resnet),
        "swin": hf.SwinForImageClassification(swin),
        "swin with norms": hf.SwinBackbone(swin),
        "roberta": hf.RobertaForMaskedLM(roberta),
        "roberta without head": hf.RobertaModel(roberta),
    }
    folders = {}
    for name, saved in models.items():
        folder = to / name.replace(" ", "-")
        randomised(saved).save_pretrained(folder)
        folders[name] = folder, saved
    return folders


def torchvision_file(folder: Path, state: dict[str, torch.Tensor], *, zipped: bool = True) -> Path:
    """A state dict with the names of torchvision, from the tensors of our ResNet."""
    counters = {name.replace("running_mean", "num_batches_tracked"): torch.tensor(9) for name in state}
    counters = {name: x for name, x in counters.items() if name.endswith("num_batches_tracked")}
    head = {"fc.weight": torch.zeros(1000, 64), "fc.bias": torch.zeros(1000)}
    torch.save(state | counters | head, folder / "resnet.pth", _use_new_zipfile_serialization=zipped)
    return folder / "resnet.pth"


def swin_file(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    """A file as the authors of Swin publish it, with the tensors of our Swin. It has one norm, at the end."""
    state = {name: x for name, x in state.items() if not re.match(r"norm\d", name)}
    state |= {"layers.0.blocks.1.attn_mask": torch.zeros(4, 9, 9)}
    state |= {"norm.weight": torch.zeros(64), "norm.bias": torch.zeros(64), "head.weight": torch.zeros(10, 64)}
    torch.save({"model": state}, folder / "swin.pth")
    return folder / "swin.pth"


def video_swin_file(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    """A file as the authors of Video-Swin publish it, with the tensors of ours: patches of two frames."""
    patch = state["patch_embed.proj.weight"]
    state = {re.sub(r"^downsamples\.(\d)", r"layers.\1.downsample", name): x for name, x in state.items()}
    state |= {"patch_embed.proj.weight": torch.cat([patch * 0.25, patch * 0.75], 2), "norm.weight": torch.zeros(64)}
    state = {f"backbone.{name}": x for name, x in state.items()} | {"cls_head.fc_cls.bias": torch.zeros(400)}
    torch.save({"meta": {"epoch": 30, "config": "model = dict()"}, "state_dict": state}, folder / "video_swin.pth")
    return folder / "video_swin.pth"


def changed_folder(folder: Path, to: Path, change=None, **config) -> Path:
    """A copy of a folder with other tensors or another config."""
    to.mkdir()
    tensors = load_file(folder / "model.safetensors")
    if change:
        change(tensors)
    save_file(tensors, to / "model.safetensors")
    values = json.loads((folder / "config.json").read_text()) | config
    (to / "config.json").write_text(json.dumps(values))
    return to
