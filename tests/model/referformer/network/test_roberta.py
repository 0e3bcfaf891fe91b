"""Our RoBERTa is that of transformers, bit by bit: names, fresh weights, outputs, dropout."""

import pytest
import torch

from model.referformer.config import TextConfig
from model.referformer.network.roberta import Roberta

SIZES = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 96}
DROPOUT = 0.1


@pytest.fixture(scope="module")
def both():
    from transformers import RobertaConfig, RobertaModel

    reference_config = RobertaConfig(
        **SIZES,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=66,
        hidden_dropout_prob=DROPOUT,
        attention_probs_dropout_prob=DROPOUT,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    reference = RobertaModel(reference_config)
    torch.manual_seed(0)
    ours = Roberta(TextConfig(**SIZES, layers=3, heads=4, max_positions=66, dropout=DROPOUT))
    return ours, reference


def test_names_and_fresh_weights(both):
    ours, reference = (one.state_dict() for one in both)
    assert list(ours) == list(reference)
    assert all(torch.equal(tensor, reference[name]) for name, tensor in ours.items())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("lengths", [(20, 11, 7, 3), (20, 20)])
def test_outputs(both, lengths, training):
    ours, reference = (one.train(training) for one in both)
    ids = torch.randint(3, 300, (len(lengths), 20), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(20) < torch.tensor(lengths)[:, None]
    ids[~mask] = 1
    torch.manual_seed(3)
    expected = reference(input_ids=ids, attention_mask=mask)
    torch.manual_seed(3)
    found = ours(ids, mask)
    assert torch.equal(found.last_hidden_state, expected.last_hidden_state)
    assert torch.equal(found.pooler_output, expected.pooler_output)


@pytest.mark.parametrize("lengths", [(20, 11), (20, 20)])
def test_outputs_in_bfloat16(both, lengths):
    ours, reference = (one.train(False) for one in both)
    ids = torch.randint(3, 300, (len(lengths), 20), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(20) < torch.tensor(lengths)[:, None]
    ids[~mask] = 1
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = reference(input_ids=ids, attention_mask=mask)
        found = ours(ids, mask)
    assert torch.equal(found.last_hidden_state, expected.last_hidden_state)
    assert torch.equal(found.pooler_output, expected.pooler_output)


def test_gradients(both):
    ours, reference = (one.train(False) for one in both)
    ids = torch.randint(3, 300, (2, 9), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids, dtype=torch.bool)
    ours(ids, mask).last_hidden_state.square().sum().backward()
    reference(input_ids=ids, attention_mask=mask).last_hidden_state.square().sum().backward()
    expected = {name: parameter.grad for name, parameter in reference.named_parameters()}
    for name, parameter in ours.named_parameters():
        if expected[name] is not None:
            torch.testing.assert_close(parameter.grad, expected[name])
