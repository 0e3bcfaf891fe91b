"""Folders of SAM models: what is read of them, and what is refused by name and reason."""

import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import Sam2VideoConfig, Sam3VideoConfig

from model.errors import CheckpointError
from model.families import check_checkpoint, check_refiner, load_refiner, load_segmenter
from model.sam.folder import folder_digest, read_config, read_pixels
from model.sam.pixels import Pixels
from model.sam.untrusted_config import require_harmless
from tests.tiny_sam import write_sam2, write_sam3

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def changed(folder: Path, place: str, value: object) -> None:
    """Set a value of config.json; dots lead into its parts."""
    config = json.loads((folder / "config.json").read_text())
    *parts, last = place.split(".")
    inner = config
    for part in parts:
        inner = inner[part]
    inner[last] = value
    (folder / "config.json").write_text(json.dumps(config))


def refused(made: dict[str, Path], tmp_path: Path, name: str, place: str, value: object, message: str) -> None:
    """Change one value of a config, and expect the message of the check."""
    folder = shutil.copytree(made[name], tmp_path / "model")
    changed(folder, place, value)
    check = check_refiner if name == "sam2" else check_checkpoint
    with pytest.raises(CheckpointError, match=message):
        check(folder)


BACKBONE = "vision_config.backbone_config"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in (("sam2", write_sam2), ("sam3", write_sam3))}


@pytest.fixture
def folder(made, tmp_path) -> Path:
    shutil.copytree(made["sam2"], tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(("name", "side"), [("sam2", 128), ("sam3", 112)])
def test_what_a_folder_says_of_itself(made, name, side):
    info = check_refiner(made[name])
    assert (info.family, info.short_side, info.count_tokens("any words")) == (f"{name}_video", side, 0)
    assert info.tracking.startswith("transformers 5.")
    mean, std = IMAGENET if name == "sam2" else ((0.5,) * 3, (0.5,) * 3)
    path = Path(made[name])
    assert read_pixels(path, read_config(path)) == Pixels(side, mean, std)


@pytest.mark.parametrize("nested", [None, "image_processor", "video_processor"])
def test_the_processor_gives_mean_and_deviation(folder, nested):
    values = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3], "size": {"height": 128, "width": 128}}
    (folder / "processor_config.json").write_text(
        json.dumps({"target_size": 128} | ({nested: values} if nested else {}))
    )
    if nested is None:
        (folder / "preprocessor_config.json").write_text(json.dumps(values))
    assert read_pixels(folder, read_config(folder)) == Pixels(128, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    values["size"] = {"height": 64, "width": 128}
    (folder / "processor_config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="do not fit a model of 128 pixels"):
        check_refiner(folder)


@pytest.mark.parametrize("text", ["[1]", "5", '"x"', "null", "pipe"])
@pytest.mark.parametrize("name", ["processor_config.json", "preprocessor_config.json"])
def test_a_processor_of_another_type_is_refused(folder, name, text):
    if text == "pipe":
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
    else:
        (folder / name).write_text(text)
    with pytest.raises(CheckpointError, match=rf"\b{name}: (it must hold an object|not a regular file)"):
        check_refiner(folder)


def test_the_digest_is_over_what_decides_the_masks(folder):
    before = folder_digest(folder)
    (folder / "sam2.1_hiera_large.pt").write_bytes(b"pickled")
    (folder / "README.md").write_text("words")
    assert folder_digest(folder) == before
    (folder / "preprocessor_config.json").write_text("{}")
    assert folder_digest(folder) != before


def test_weights_in_several_files(folder, made):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    files = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for name, part in files.items():
        save_file({each: weights[each] for each in part}, folder / name, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {each: name for name, part in files.items() for each in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    model = load_refiner(folder, device="cpu").model
    one = load_refiner(made["sam2"], device="cpu").model
    assert all(value.equal(one.state_dict()[name]) for name, value in model.state_dict().items())
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-2.safetensors: file not found"):
        check_refiner(folder)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("sam2", "download facebook/sam2.1-hiera-large"),
        ("sam3", "the part for images"),
        ("edgetam_video", "needs the library timm"),
        ("referformer", "takes sentences, not masks"),
        ("clipseg", "unknown model_type 'clipseg'; choose from sam2_video, sam3_video"),
    ],
)
def test_other_models_are_refused_with_the_reason(folder, kind, reason):
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(CheckpointError, match=reason):
        check_refiner(folder)


def test_a_model_of_masks_does_not_segment_by_sentences(made):
    with pytest.raises(CheckpointError, match="takes masks, not sentences; segment with another one"):
        check_checkpoint(made["sam2"])


def test_pickled_weights_alone_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "sam3.1_multiplex.pt")
    for use in (check_refiner, load_refiner):
        with pytest.raises(CheckpointError, match="only safetensors are read.*facebook/sam3.1 has no such weights"):
            use(folder)


def test_damage_is_named(folder):
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="damaged or incomplete; download it again"):
        check_refiner(folder)
    (folder / "config.json").write_text('{"model_type": "sam2_video", "image_size": "large"}')
    with pytest.raises(CheckpointError, match="not the config of a SAM model; download .*image_size.* int.*'large'"):
        check_refiner(folder)


def test_weights_of_whole_numbers_are_refused(folder):
    """They load, cut to whole numbers."""
    weights = load_file(folder / "model.safetensors")
    weights["no_memory_embedding"] = weights["no_memory_embedding"].int()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="must be F64, F32, F16, BF16, but no_memory_embedding is I32"):
        check_refiner(folder)


@pytest.mark.parametrize("kind", ["sam3_tracker_video", "sam3_tracker", "sam3_lite_text"])
def test_parts_of_sam3_name_the_whole(folder, kind):
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    for check in (check_refiner, check_checkpoint):
        with pytest.raises(CheckpointError, match="take the whole folder of facebook/sam3"):
            check(folder)


@pytest.mark.parametrize("fault", ["missing", "unexpected", "mismatched"])
def test_every_tensor_must_fit(folder, fault):
    weights = load_file(folder / "model.safetensors")
    if fault == "missing":
        del weights["no_memory_embedding"]
    elif fault == "unexpected":
        weights["of_nothing"] = weights["no_memory_embedding"].clone()
    else:
        weights["no_memory_embedding"] = weights["no_memory_embedding"][..., :7].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    name = {"unexpected": r"of_nothing\)", "mismatched": r"no_memory_embedding: \[1, 1, 7\], not \[1, 1, 128\]\)"}
    for use in (check_refiner, load_refiner):
        with pytest.raises(CheckpointError, match=rf"1 tensor {fault} \({name.get(fault, 'no_memory_embedding')}"):
            use(folder)


def test_every_tensor_of_sam3_must_fit(made, tmp_path):
    """The tracker takes its part of the folder; to segment takes all of it."""
    folder = shutil.copytree(made["sam3"], tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    names = [name for name in weights if name.startswith("detector_model.detr_decoder")]
    del weights[names[0]]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"1 tensor missing \({names[0]}\)"):
        check_checkpoint(folder)
    check_refiner(folder)
    del weights[next(name for name in weights if name.startswith("tracker_model.") and "memory_attention" in name)]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="1 tensor missing"):
        check_refiner(folder)


@pytest.mark.parametrize(
    ("name", "place", "value", "reason"),
    [
        ("sam2", "vision_config.backbone_feature_sizes", [[16, 16], [16, 16], [8, 8]], "RuntimeError"),
        ("sam2", f"{BACKBONE}.window_size_per_stage", [8, 4, 3, 4], "in vision_encoder.backbone.blocks.4"),
        ("sam2", f"{BACKBONE}.num_attention_heads_per_stage", [1, 2, 3, 8], "in vision_encoder.backbone.blocks"),
        ("sam2", "memory_attention_num_attention_heads", 3, "in memory_attention.layers.0"),
        ("sam2", "memory_attention_rope_feat_sizes", [4, 4], "in memory_attention.layers.0"),
        ("sam2", "image_size", 256, "RuntimeError"),
        ("sam3", "low_res_mask_size", 16, "low_res_mask_size is 16, but its detector draws masks of 32 x 32 pixels"),
        ("sam3", "detector_config.detr_encoder_config.num_attention_heads", 3, "in detector_model.detr_encoder"),
        ("sam3", f"detector_config.{BACKBONE}.image_size", 224, "in detector_model.vision_encoder.backbone.layers.1"),
        (
            "sam3",
            "tracker_config.memory_attention_num_attention_heads",
            3,
            "in tracker_model.memory_attention.layers.0",
        ),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(made, tmp_path, name, place, value, reason):
    """All of these load: the contradiction shows when a frame goes through the model."""
    refused(made, tmp_path, name, place, value, f"numbers in it contradict each other.*{reason}")


def test_the_tracker_of_sam3_is_checked_on_its_own(made, tmp_path):
    folder = shutil.copytree(made["sam3"], tmp_path / "model")
    changed(folder, "low_res_mask_size", 16)
    check_refiner(folder)
    changed(folder, "tracker_config.memory_attention_num_attention_heads", 3)
    with pytest.raises(CheckpointError, match="contradict each other in memory_attention.layers.0"):
        check_refiner(folder)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("attn_implementation", "somebody/kernel"),  # transformers fetches this repository and runs its code
        ("_attn_implementation", "somebody/kernel@v1:attention"),
        ("attn_implementation", {"": "sdpa", "vision_config": "somebody/kernel"}),
        ("vision_config._attn_implementation", "somebody/kernel"),
        ("_attn_implementation_internal", "somebody/kernel"),
        ("experts_implementation", "somebody/kernel"),
        ("auto_map", {"AutoConfig": "somebody/repository--module.Class"}),
        ("quantization_config", {"quant_method": "bitsandbytes", "load_in_4bit": True}),
        (f"{BACKBONE}.model_type", "timm_backbone"),
        (BACKBONE, {"model_type": "timm_backbone", "backbone": "resnet18", "use_pretrained_backbone": True}),
        ("memory_attention_num_layers", 20_000),
        ("memory_attention_feed_forward_hidden_size", 4_000_000),
        (f"{BACKBONE}.blocks_per_stage", [10**6, 1, 2, 1]),
        (f"{BACKBONE}.blocks_per_stage", [1] * 10**5),
        (f"{BACKBONE}.blocks_per_stage", [500] * 4),
        ("image_size", 10**6),
        ("memory_attention_num_layers", float("inf")),
    ],
)
def test_a_config_runs_no_code_and_has_bounds(folder, place, value):
    changed(folder, place, value)
    for use in (check_refiner, load_refiner):
        with pytest.raises(CheckpointError, match="not the config of a SAM model"):
            use(folder)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("memory_attention_feed_forward_hidden_size", 1_000_000),
        (f"{BACKBONE}.embed_dim_per_stage", [1_000_000, 32, 64, 128]),
        ("memory_attention_rope_feat_sizes", [100_000, 100_000]),
    ],
)
def test_a_model_that_is_larger_than_its_weights_takes_no_memory(folder, place, value):
    changed(folder, place, value)
    for use in (check_refiner, load_refiner):
        with pytest.raises(CheckpointError, match="describes a model of [0-9]+ numbers, its weights have"):
            use(folder)


@pytest.mark.parametrize(
    ("name", "place", "value", "reason"),
    [
        ("sam2", "max_object_pointers_in_encoder", 1, "every mask would be NaN; the published value is 16"),
        ("sam2", "max_object_pointers_in_encoder", True, "every mask would be NaN"),
        ("sam2", "max_object_pointers_in_encoder", 100_000, "must be from 0 to 256"),
        (
            "sam2",
            "rope_parameters",
            {"rope_type": "axial", "rope_theta": 0.0},
            "rope_theta is 0.0; it must be from 1 to",
        ),
        ("sam2", "prompt_encoder_config.layer_norm_eps", float("nan"), "layer_norm_eps is nan, not a number"),
        ("sam2", "prompt_encoder_config.layer_norm_eps", -1.0, "layer_norm_eps is -1.0; it must be from 1e-12 to 1"),
        ("sam2", "sigmoid_scale_for_mem_enc", float("nan"), "is nan, not a number"),
        ("sam2", "sigmoid_bias_for_mem_enc", float("-inf"), "is -inf, not a number"),
        ("sam2", "mask_decoder_config.iou_head_depth", 10**6, "iou_head_depth is 1000000, not a number up to 512"),
        ("sam2", "mask_decoder_config.num_multimask_outputs", 10**6, "not a number up to 512"),
        ("sam2", f"{BACKBONE}.patch_padding", [3, 3, 3], "must be one number, or those of height and width"),
        ("sam3", "tracker_config.max_object_pointers_in_encoder", 1, "every mask would be NaN"),
        ("sam3", "hotstart_delay", 10**6, "must be from 0 to 256"),
        ("sam3", "hotstart_unmatch_thresh", 0, "must be from 1 to 256"),
        ("sam3", "max_num_objects", 0, "must be from 1 to"),
        ("sam3", "new_det_thresh", 1.5, "new_det_thresh is 1.5; it must be from 0 to 1"),
        ("sam3", "score_threshold_detection", -1.0, "must be from 0 to 1"),
    ],
)
def test_a_value_with_which_a_run_has_no_masks_is_refused(made, tmp_path, name, place, value, reason):
    """All of these load: masks were NaN or empty, no frame passed, or the check built a million layers."""
    refused(made, tmp_path, name, place, value, f"not the config of a SAM model: .*{reason}")


def test_a_tracker_without_the_age_of_pointers_may_have_one(folder):
    changed(folder, "max_object_pointers_in_encoder", 1)
    changed(folder, "enable_temporal_pos_encoding_for_object_pointers", False)
    read_config(folder)


@pytest.mark.parametrize(
    "place",
    [
        "tracker_config.mask_decoder_config.iou_head_depth",
        "tracker_config.memory_attention_num_layers",
        "detector_config.detr_encoder_config.num_layers",
        f"detector_config.{BACKBONE}.num_hidden_layers",
    ],
)
def test_a_layer_that_the_config_leaves_out_is_named(made, tmp_path, place):
    """transformers lets the parts of SAM 3 ignore each other's tensors, and so the whole ignores any."""
    folder = shutil.copytree(made["sam3"], tmp_path / "model")
    changed(folder, place, 0 if place.endswith("layers") else 2)
    with pytest.raises(CheckpointError, match="tensors? unexpected|contradict"):
        check_checkpoint(folder)
    with pytest.raises(CheckpointError, match="tensors? unexpected|cannot be built"):
        load_segmenter(folder, device="cpu")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"do_normalize": False}, "do_normalize False: frames are resized"),
        ({"resample": 3, "rescale_factor": 0.5}, "resample 3, rescale_factor 0.5"),
        ({"do_center_crop": True}, "do_center_crop True"),
        ({"image_mean": "123"}, "'123' is not a list of numbers"),
        ({"image_mean": [0.5, float("nan"), 0.5]}, "is not a list of numbers"),
        ({"image_std": [1, 1, -1]}, "do not fit a model"),
        ({"image_std": [1, 1]}, "do not fit a model"),
        ({"image_std": [1, 1, None]}, "not the processor of this model"),
    ],
)
def test_a_processor_with_other_steps_is_refused(folder, values, reason):
    usual = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_resize": True, "resample": 2, "do_center_crop": None}
    usual |= {"rescale_factor": 0.00392156862745098, "do_pad": None}
    (folder / "preprocessor_config.json").write_text(json.dumps(usual))
    check_refiner(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(usual | values))
    with pytest.raises(CheckpointError, match=reason):
        check_refiner(folder)


def test_an_adapter_is_refused(folder):
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/model"}')
    for use in (check_refiner, load_refiner):
        with pytest.raises(CheckpointError, match="adapters are not supported"):
            use(folder)


@pytest.mark.parametrize("name", ["../other.safetensors", "/other.safetensors", "a/b.safetensors", "w.bin", 3, None])
def test_an_index_names_files_beside_it(folder, name):
    (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match="is not the name of a file of safetensors"):
        check_refiner(folder)


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', "3"])
def test_an_index_without_names(folder, content):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match="it has no weight_map"):
        check_refiner(folder)


@pytest.mark.parametrize("kind", [Sam2VideoConfig, Sam3VideoConfig])
def test_the_published_sizes_are_within_the_bounds(kind):
    """The defaults of transformers are those of the published models."""
    require_harmless(json.loads(kind().to_json_string(use_diff=False)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "config.json: file not found; a checkpoint is a folder with .*ReferFormer, 'hf download' those of SAM"),
        ("words", "config.json: cannot be read: .*; download or convert the checkpoint again"),
        ("[1]", "config.json: it must be a JSON object, not list"),
        (
            '{"a": 1}',
            "no model_type, as in folders of ReferFormer|without a model_type, a folder is taken",
        ),
    ],
)
@pytest.mark.parametrize("check", [check_checkpoint, check_refiner])
def test_folders_that_are_no_checkpoint(folder, content, reason, check):
    """One text for `rvos segment`, which takes any family, and `rvos refine`, which takes SAM."""
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=reason):
        check(folder)
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match="model: folder not found; a checkpoint is a folder with"):
        check(folder)
