"""SAM 2 and SAM 3 with random weights, small enough for tests: 128 and 112 pixels, some 2 million parameters."""

from pathlib import Path
from typing import Any

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTokenizer,
    PreTrainedModel,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam3VideoConfig,
    Sam3VideoModel,
)

PATCH: dict[str, Any] = {"hidden_size": 128, "mask_input_channels": 8}
# Thresholds at which objects come, cross and are taken back within a few frames.
LIVELY = {
    "score_threshold_detection": 0.5,
    "new_det_thresh": 0.52,
    "high_conf_thresh": 0.6,
    "high_iou_thresh": 0.2,
    "recondition_every_nth_frame": 3,
    "assoc_iou_thresh": 0.1,
    "trk_assoc_iou_thresh": 0.2,
    "det_nms_thresh": 0.3,
    "fill_hole_area": 4,
    "max_num_objects": 6,
}
DECODER: dict[str, Any] = {
    "hidden_size": 128,
    "mlp_dim": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": 128,
}
MEMORY: dict[str, Any] = {
    "memory_attention_hidden_size": 128,
    "memory_attention_num_layers": 1,
    "memory_attention_feed_forward_hidden_size": 64,
    "memory_encoder_hidden_size": 128,
    "memory_encoder_output_channels": 64,
    "mask_downsampler_embed_dim": 128,
    "memory_fuser_embed_dim": 128,
    "memory_fuser_intermediate_dim": 64,
    "memory_fuser_num_layers": 1,
}


def sam2_config(side: int = 128) -> Sam2VideoConfig:
    grid = side // 16
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 16,
        "num_attention_heads": 1,
        "image_size": [side, side],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [16, 32, 64, 128],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": [8, 4, 8, 4],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [128, 64, 32, 16],
        "backbone_feature_sizes": [[4 * grid] * 2, [2 * grid] * 2, [grid] * 2],
        "fpn_hidden_size": 128,
    }
    return Sam2VideoConfig(
        vision_config=vision,
        image_size=side,
        prompt_encoder_config={"image_size": side, "patch_size": 16, **PATCH},
        mask_decoder_config=DECODER,
        memory_attention_rope_feat_sizes=[grid, grid],
        **MEMORY,
    )


def sam3_config(side: int = 112, **options) -> Sam3VideoConfig:
    grid = side // 14
    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": side,
        "patch_size": 14,
        "window_size": 4,
        "global_attn_indexes": [1],
        "pretrain_image_size": side // 2,
    }
    sizes = [[4 * grid] * 2, [2 * grid] * 2, [grid] * 2]
    vision = {"backbone_config": backbone, "fpn_hidden_size": 128, "backbone_feature_sizes": sizes}
    detr = {
        "hidden_size": 128,
        "num_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "dropout": 0.0,
    }
    text = {
        "model_type": "clip_text_model",
        "vocab_size": 1000,
        "hidden_size": 32,
        "intermediate_size": 64,
        "projection_dim": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
        "hidden_act": "gelu",
    }
    detector = {
        "model_type": "sam3",
        "vision_config": vision,
        "text_config": text,
        "geometry_encoder_config": detr,
        "detr_encoder_config": detr,
        "detr_decoder_config": {**detr, "num_queries": 12},
        "mask_decoder_config": {"hidden_size": 128, "num_upsampling_stages": 3, "num_attention_heads": 2},
    }
    tracker = {
        "model_type": "sam3_tracker_video",
        "vision_config": {"model_type": "sam3_vision_model", **vision},
        "prompt_encoder_config": {"image_size": side, "patch_size": 14, **PATCH},
        "mask_decoder_config": DECODER,
        "image_size": side,
        "memory_attention_num_attention_heads": 1,
        "memory_attention_rope_feat_sizes": [grid, grid],
        **MEMORY,
    }
    return Sam3VideoConfig(detector_config=detector, tracker_config=tracker, low_res_mask_size=4 * grid, **options)


def lively(kind: type[PreTrainedModel], config, seed: int, scale: float) -> PreTrainedModel:
    """A model whose matrices are scaled up, so that its answers change from frame to frame."""
    torch.manual_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "position" not in name:
                parameter.mul_(scale)
    return model


def write_sam2(folder: Path, seed: int = 0, scale: float = 6.0) -> str:
    lively(Sam2VideoModel, sam2_config(), seed, scale).save_pretrained(folder)
    return str(folder)


def write_sam3(folder: Path, seed: int = 0, scale: float = 4.0, **options) -> str:
    """A folder as the hub has it, with a tokenizer."""
    lively(Sam3VideoModel, sam3_config(**options), seed, scale).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


def byte_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer of single characters."""
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=[], model_max_length=32)
