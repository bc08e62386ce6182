import re

import pytest
import torch

from retune.errors import Refused
from retune.models import decoder
from retune.models.base_model import weights_sha256
from retune.models.chat_template import TokenizedExample
from retune.models.packing import pack
from tasks.train.decoder import lora_fusion, step
from tasks.train.decoder.lora_kernel import frozen_in_8_bits

CPU = torch.device("cpu")
ROWS = pack([TokenizedExample(list(range(5, 25)), 4), TokenizedExample(list(range(40, 49)), 2)], CPU)


@pytest.fixture
def adapted_network(tiny_causal_lm):
    """The same network each time, its adapter moved away from where it starts."""

    def make(dropout=0.0, rank_stabilised=False, dora=False):
        name = f"folder:{tiny_causal_lm}"
        _, network = decoder.load_base(name, weights_sha256(tiny_causal_lm), "fp32", CPU)
        torch.manual_seed(7)
        network = decoder.add_lora(network, name, 4, 8, dropout, rank_stabilised, dora)
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.randn_like(parameter)
        return network

    return make


def learned(network, rows=ROWS):
    """The loss of two rows, and the gradient of every adapter weight."""
    value = step.backward(network, rows, 20.0, 0.0, "fp32")
    return value, {name: each.grad for name, each in network.named_parameters() if each.requires_grad}


@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_fused_layers_give_pefts_loss_and_gradients(adapted_network, rank_stabilised):
    plain, fused = adapted_network(rank_stabilised=rank_stabilised), adapted_network(rank_stabilised=rank_stabilised)
    assert lora_fusion.fuse(fused) == 14
    value, gradients = learned(plain)
    own_value, own_gradients = learned(fused)
    assert torch.allclose(value, own_value, atol=1e-6)
    assert gradients.keys() == own_gradients.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, own_gradients[name], atol=1e-6), name


@pytest.mark.slow
def test_a_layer_compiled_gives_the_same(adapted_network):
    plain, compiled = adapted_network(), adapted_network()
    lora_fusion.fuse(compiled)
    step.compile_layers(compiled, "aot_eager")  # traced as a whole; C++ would take a minute
    like = pack(
        [TokenizedExample(list(range(begin, begin + 16)), 4) for begin in (5, 30)], CPU
    )  # as a compiled CPU needs it
    value, gradients = learned(plain, like)
    own_value, own_gradients = learned(compiled, like)
    assert torch.allclose(value, own_value, atol=1e-5)
    assert all(torch.allclose(gradient, own_gradients[name], atol=1e-5) for name, gradient in gradients.items())


def test_a_layer_computed_again_for_its_gradient_gives_the_same(adapted_network):
    plain, sparing = adapted_network(), adapted_network()
    lora_fusion.fuse(sparing)
    sparing.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    sparing.train()
    value, gradients = learned(plain)
    own_value, own_gradients = learned(sparing)
    assert torch.allclose(value, own_value, atol=1e-6)
    assert all(torch.allclose(gradient, own_gradients[name], atol=1e-6) for name, gradient in gradients.items())


def test_a_forward_that_was_left_halfway_spoils_none_that_follow(adapted_network):
    plain, fused = adapted_network(), adapted_network()
    lora_fusion.fuse(fused)
    decoder.body(fused).layers[0].self_attn.q_proj(torch.ones(1, 3, 64))  # and its siblings were never asked
    assert torch.allclose(learned(plain)[0], learned(fused)[0], atol=1e-6)


@pytest.mark.parametrize("words", [{"dropout": 0.1}, {"dora": True}])
def test_what_is_more_than_the_one_operation_keeps_pefts_forward(adapted_network, words):
    assert lora_fusion.fuse(adapted_network(**words)) == 0


def test_a_fused_network_saves_what_peft_reads(adapted_network, tmp_path, tiny_causal_lm):
    from peft import PeftModel

    fused = adapted_network()
    lora_fusion.fuse(fused)
    fused.save_pretrained(tmp_path)
    _, network = decoder.load_base(f"folder:{tiny_causal_lm}", weights_sha256(tiny_causal_lm), "fp32", CPU)
    plain = PeftModel.from_pretrained(network, tmp_path)
    with torch.no_grad():
        assert torch.allclose(decoder.hidden_states(plain, ROWS), decoder.hidden_states(fused, ROWS), atol=1e-6)


def test_a_fused_layer_is_never_silently_with_its_adapter_when_told_to_be_without(adapted_network):
    fused = adapted_network()
    lora_fusion.fuse(fused)
    with pytest.raises(ValueError, match="load the model anew"), fused.disable_adapter():
        decoder.hidden_states(fused, ROWS)


def test_eight_bits_are_refused_where_nothing_multiplies_them():
    with pytest.raises(Refused, match=re.escape("write train.lora.base_precision: bf16")):
        lora_fusion.check_eight_bits(CPU, torch.bfloat16)


def test_weights_in_eight_bits_are_within_a_sixteenth_each_way_round():
    torch.manual_seed(3)
    weight = torch.randn(6, 10) * torch.logspace(-3, 3, 6)[:, None]
    rows, row_scale, columns, column_scale = frozen_in_8_bits(weight)
    assert torch.allclose(rows.float() * row_scale.t(), weight, rtol=1 / 16, atol=0)
    back = columns.float() * column_scale.t()
    assert (back - weight.t()).abs().max(1).values.le(weight.abs().max(0).values / 16).all()
