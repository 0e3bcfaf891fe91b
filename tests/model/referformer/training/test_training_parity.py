"""Matching, losses, gradients and the first updates against recordings of the reference.

The recordings in `tests/golden/parity/training`, or those in `training` of the folder that RVOS_PARITY_DIR names.
"""

import copy
import hashlib
from collections import defaultdict

import numpy as np
import pytest
import torch
from torch import nn

from model.referformer.network.backbones.window_attention import SwinBlock
from model.referformer.network.referformer import Prediction, ReferFormer, ReferFormerOutput
from model.referformer.network.text_encoder import TokenBatch
from model.referformer.training.losses import Losses, clip_losses
from model.referformer.training.matcher import Coefficients, matching_costs
from model.referformer.training.optimizer import Rates, adamw, freeze
from model.referformer.training.targets import Targets

PUBLISHED_NAMES = {"ce": "classes", "bbox": "boxes", "giou": "giou", "mask": "masks", "dice": "dice"}
COSTS = {"class": "classes", "bbox": "boxes", "giou": "giou", "mask": "masks", "dice": "dice"}
MAX_GRADIENT_NORM = 0.1
WEIGHT_DECAY = 5e-4


def test_matching_and_losses_agree(loss_case, parity):
    case = parity.TrainingRecording(loss_case)
    given = {name: torch.from_numpy(values).requires_grad_() for name, values in case.predictions().items()}
    targets = targets_of(case)
    check_inputs(case, given, targets)
    layers = [Prediction(*(given[f"pred_{part}"][i] for part in ("logits", "boxes", "masks"))) for i in range(4)]
    costs = [matching_costs(layer, targets) for layer in layers]
    found = {f"cost.{name}": torch.stack([getattr(cost, ours) for cost in costs]) for name, ours in COSTS.items()}
    found["cost.total"] = torch.stack([cost.total(Coefficients()) for cost in costs])
    losses = clip_losses(as_output(layers), targets, Coefficients())
    check_losses(case, losses)
    losses.total.backward()
    found |= {f"grad.{name}": tensor.grad for name, tensor in given.items()}
    assert not [miss for name in case.tensors if (miss := case.miss(name, found[name]))]


@pytest.mark.slow
def test_training_steps_agree(step_case, parity, filled_model, device):
    case = parity.TrainingRecording(step_case)
    info = case.info
    model = filled_model(info["backbone"], info["num_classes"], info["num_queries"], case.salt)
    model = silence(copy.deepcopy(model).to(device).requires_grad_(True).train())
    freeze(model, Rates(), text_encoder=True)
    targets = targets_of(case).to(device)
    output = forward(model, case, device)
    outputs = keep_gradients(output)
    losses = clip_losses(output, targets, Coefficients())
    check_losses(case, losses)
    losses.total.backward()
    found = {name: torch.stack([x.detach() for x in parts]) for name, parts in outputs.items()}
    found |= {f"grad.{name}": torch.stack([x.grad for x in parts]) for name, parts in outputs.items()}
    parameters = {own_name(name): x for name, x in model.named_parameters() if x.requires_grad}
    found |= {f"grad.{name}": x.grad.clone() for name, x in parameters.items()}
    check_gradient_norms(info, parameters)
    totals = [losses.total.item()]
    optimizer = adamw(model, Rates(), WEIGHT_DECAY)
    found |= first_update(info, model, optimizer, parameters)
    for _ in range(2):
        optimizer.zero_grad()
        losses = clip_losses(forward(model, case, device), targets, Coefficients())
        totals.append(losses.total.item())
        losses.total.backward()
        nn.utils.clip_grad_norm_(parameters.values(), MAX_GRADIENT_NORM)
        optimizer.step()
    assert totals == pytest.approx(info["total_after_steps"], rel=info["limit_total_after_steps_relative"])
    assert not [miss for name in case.tensors if (miss := case.miss(name, found[name]))]


def targets_of(case) -> Targets:
    annotated = case.annotated()
    return Targets(
        masks=torch.from_numpy(case.padded_masks()).bool(),
        boxes=torch.from_numpy(np.stack([a.boxes for a in annotated])),
        present=torch.from_numpy(np.stack([a.present for a in annotated])),
        labels=torch.stack([torch.full((len(a.present),), a.label) for a in annotated]),
    )


def check_inputs(case, given: dict[str, torch.Tensor], targets: Targets) -> None:
    arrays = {name: tensor.detach().numpy() for name, tensor in given.items()}
    arrays |= {"masks": targets.masks.numpy().astype(np.uint8), "boxes": targets.boxes.numpy()}
    digests = {name: hashlib.sha256(values.tobytes()).hexdigest()[:16] for name, values in arrays.items()}
    assert digests == case.info["inputs_sha256_16"]
    assert targets.count == case.info["num_boxes"]


def check_losses(case, losses: Losses) -> None:
    *aux, last = losses.layers
    found = {f"loss_{name}": getattr(last, ours).item() for name, ours in PUBLISHED_NAMES.items()}
    for layer, terms in enumerate(aux):
        found |= {f"loss_{name}_{layer}": getattr(terms, ours).item() for name, ours in PUBLISHED_NAMES.items()}
    limit = case.info["limit_losses_relative"]
    assert found == pytest.approx(case.info["losses"], rel=limit)
    assert losses.total.item() == pytest.approx(case.info["total"], rel=limit)
    assert [queries.tolist() for queries in losses.queries] == case.info["matched"]


def as_output(layers: list[Prediction]) -> ReferFormerOutput:
    *aux, last = layers
    return ReferFormerOutput(last.logits, last.boxes, last.masks, reference_points=last.boxes[..., :2], aux=aux)


def silence(model: ReferFormer) -> ReferFormer:
    """Switch off everything random."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
        elif isinstance(module, SwinBlock):
            module.drop_path = 0.0
    return model


def forward(model: ReferFormer, case, device: torch.device) -> ReferFormerOutput:
    frames, padding = (x.to(device) for x in case.frames())
    sizes = torch.tensor([(entry["height"], entry["width"]) for entry in case.info["clips"]], device=device)
    return model(frames, TokenBatch(*case.tokens()).to(device), padding=padding if padding.any() else None, sizes=sizes)


def keep_gradients(output: ReferFormerOutput) -> dict[str, list[torch.Tensor]]:
    outputs = defaultdict(list)
    for layer in (*output.aux, output):
        for part in ("logits", "boxes", "masks"):
            tensor = getattr(layer, part)
            tensor.retain_grad()
            outputs[f"pred_{part}"].append(tensor)
    return outputs


def own_name(name: str) -> str:
    return name.removeprefix("transformer.decoder.") if "decoder.bbox_embed" in name else name


def norm(tensors) -> float:
    return torch.stack([x.detach().double().norm() for x in tensors]).norm().item()


def check_gradient_norms(info: dict, parameters: dict[str, nn.Parameter]) -> None:
    limit = info["limit_grad_norm_relative"]
    gradients = {name: x.grad for name, x in parameters.items()}
    assert {name: norm([x]) for name, x in gradients.items()} == pytest.approx(
        info["grad_norm_by_parameter"], rel=limit
    )
    for module, recorded in info["grad_norm_by_module"].items():
        assert norm(x for name, x in gradients.items() if name.startswith(module)) == pytest.approx(recorded, rel=limit)
    assert norm(gradients.values()) == pytest.approx(info["grad_total_norm"], rel=limit)


def first_update(info: dict, model: ReferFormer, optimizer, parameters: dict[str, nn.Parameter]) -> dict:
    """Clip, step, compare the groups; what changed, by parameter."""
    groups = {group["name"]: group for group in optimizer.param_groups}
    recorded = {name: group for name, group in info["optimizer_groups"].items() if group["tensors"]}
    assert {name: group["lr"] for name, group in groups.items()} == {n: g["lr"] for n, g in recorded.items()}
    before = {name: x.detach().clone() for name, x in parameters.items()}
    nn.utils.clip_grad_norm_(parameters.values(), MAX_GRADIENT_NORM)
    optimizer.step()
    updates = {name: x.detach() - before[name] for name, x in parameters.items()}
    for name, group in recorded.items():
        members = {id(x) for x in groups[name]["params"]}
        own = [updates[key] for key, x in parameters.items() if id(x) in members]
        assert (len(own), sum(x.numel() for x in own)) == (group["tensors"], group["numbers"])
        limit = info["limit_norm_of_first_update_relative"]
        assert norm(own) == pytest.approx(group["norm_of_first_update"], rel=limit)
    return {f"update.{name}": x for name, x in updates.items()}
