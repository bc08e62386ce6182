"""A decoder of two layers: what it says of a row alone, packed, adapted, merged and reloaded."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from retune.errors import Refused, WrongUse
from retune.models import attention, causal_lm, chat_template, decoder
from retune.models.base_model import weights_sha256
from retune.models.chat_template import TokenizedExample
from retune.models.manifest import CausalLMManifest, read_causal_lm, read_classifier
from retune.models.packing import pack
from tests.support.tree_hashes import file_hashes

CPU = torch.device("cpu")
SAFE = {".json", ".safetensors", ".jinja"}
METHODS = ["full", "lora", "dora", "ia3", "prompt"]


def base_of(folder):
    return f"folder:{folder}", weights_sha256(folder)


def build(folder, method):
    """A decoder whose adapter (or whole) has been moved away from where it starts."""
    name, sha256 = base_of(folder)
    tokenizer, network = decoder.load_base(name, sha256, "fp32", CPU)
    chat_template.choose(tokenizer, "chatml")
    torch.manual_seed(1)
    if method in ("lora", "dora"):
        network = decoder.add_lora(network, name, 4, 8, 0.0, False, method == "dora")
    if method == "ia3":
        network = decoder.add_ia3(network, name)
    if method == "prompt":
        network = decoder.add_prompt(network, name, 3)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    card = CausalLMManifest("instruct", method, name, sha256, 128, 12, "chatml")
    return causal_lm.CausalLM(card, tokenizer, network.eval())


@pytest.fixture(scope="module")
def saved_model(tiny_causal_lm, tmp_path_factory):
    """method -> a decoder and the folder that it was saved into, made once each."""
    cache = {}

    def get(method):
        if method not in cache:
            model = build(tiny_causal_lm, method)
            folder = tmp_path_factory.mktemp(method)
            causal_lm.save(folder, model.manifest, model.tokenizer, model.network)
            cache[method] = (model, folder)
        return cache[method]

    return get


def rows_of(model, make_replies, count=7):
    frame = make_replies(count)
    return [chat_template.render(model.tokenizer, *row) for row in zip(frame["text"], frame["label"], strict=True)]


def logits(network, rows):
    with torch.no_grad():
        return (
            decoder.hidden_states(network, pack(decoder.with_virtual_tokens(rows, network), CPU))
            @ decoder.head(network).t()
        )


def test_packed_rows_have_the_logits_of_each_row_alone(tiny_causal_lm, make_replies):
    """Of transformers' own forward, with its own attention: nothing leaks from the row before."""
    model = build(tiny_causal_lm, "full")
    rows = rows_of(model, make_replies)
    together = logits(model.network, rows)
    plain = AutoModelForCausalLM.from_pretrained(tiny_causal_lm, attn_implementation="eager")
    plain.load_state_dict(model.network.state_dict())
    alone = torch.cat([plain(input_ids=torch.tensor([row.tokens])).logits[0] for row in rows])
    assert torch.allclose(together, alone, atol=1e-5)


def test_virtual_tokens_stand_before_each_row_as_peft_puts_them(saved_model, make_replies):
    model, _ = saved_model("prompt")
    rows = rows_of(model, make_replies, 3)
    ours = logits(model.network, rows).split([3 + len(row.tokens) for row in rows])
    model.network.get_base_model().set_attn_implementation("sdpa")
    with torch.no_grad():
        expected = [model.network(input_ids=torch.tensor([row.tokens])).logits[0] for row in rows]
    model.network.get_base_model().set_attn_implementation("packed")
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(ours, expected, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_the_likelihood_is_a_plain_loss_summed_over_each_row(saved_model, make_replies, method):
    model, _ = saved_model(method)
    rows = rows_of(model, make_replies)
    likelihood = model.likelihood(rows, batch_size=3)
    before = 3 if method == "prompt" else 0
    for number, row in enumerate(rows):
        labels = torch.tensor(row.tokens[row.prompt :])
        row_logits = logits(model.network, [row])[before + row.prompt - 1 : -1]
        assert likelihood.tokens[number] == len(row.tokens) - row.prompt
        assert likelihood.nll[number] == pytest.approx(
            nn.functional.cross_entropy(row_logits, labels, reduction="sum").item(), abs=1e-3
        )


def test_a_row_without_a_prompt_or_without_an_answer_is_scored_for_what_it_has(saved_model):
    model, _ = saved_model("lora")
    likelihood = model.likelihood(
        [TokenizedExample([5, 6, 7], 0), TokenizedExample([5, 6, 7], 1), TokenizedExample([5, 6, 7], 3)]
    )
    assert likelihood.tokens.tolist() == [2, 2, 0]
    assert likelihood.nll[0] == pytest.approx(likelihood.nll[1])
    assert likelihood.nll[2] == 0


def test_a_base_whose_head_does_more_than_multiply_is_refused(tmp_path, tiny_causal_lm):
    from transformers import CohereConfig, CohereForCausalLM

    torch.manual_seed(0)
    config = CohereConfig(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, logit_scale=0.1
    )
    CohereForCausalLM(config).save_pretrained(tmp_path)
    for file in tiny_causal_lm.glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(Refused, match="in an unknown way"):
        decoder.load_base(*base_of(tmp_path), "fp32", CPU)


def test_a_base_of_other_weights_is_refused(tiny_causal_lm):
    with pytest.raises(Refused, match="restore that base"):
        decoder.load_base(f"folder:{tiny_causal_lm}", "0" * 64, "fp32", CPU)


def test_weights_are_16_bits_on_a_gpu_and_32_elsewhere_unless_params_say_otherwise(tiny_causal_lm):
    """Whoever loads a base by its name alone gets float32, twice the memory."""
    cuda = torch.device("cuda")
    kinds = [
        decoder.weight_dtype(*setting) for setting in (("auto", cuda), ("auto", CPU), ("fp32", cuda), ("bf16", CPU))
    ]
    assert kinds == [torch.bfloat16, torch.float32, torch.float32, torch.bfloat16]
    _, network = decoder.load_base(*base_of(tiny_causal_lm), "bf16", CPU)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.bfloat16}


def test_an_adapter_whose_base_has_changed_where_it_lies_is_refused(tmp_path, tiny_causal_lm):
    """PEFT keeps the base's path alone, and would load whatever lies there."""
    base = shutil.copytree(tiny_causal_lm, tmp_path / "base")
    model = build(base, "lora")
    causal_lm.save(tmp_path / "model", model.manifest, model.tokenizer, model.network)
    bits = bytearray((base / "model.safetensors").read_bytes())
    bits[-1] ^= 1
    (base / "model.safetensors").write_bytes(bits)
    with pytest.raises(Refused, match="the weights of the base"):
        causal_lm.load(tmp_path / "model", "cpu")


def test_four_bits_without_a_gpu_are_refused_with_what_to_do(tiny_causal_lm):
    with pytest.raises(Refused, match="write train"):
        decoder.load_base(*base_of(tiny_causal_lm), "auto", CPU, four_bits=True)


def test_the_same_prompts_are_answered_the_same_in_any_batch(saved_model, make_replies):
    model, _ = saved_model("lora")
    texts = make_replies(6)["text"].tolist()
    one, two, alone = (model.predict(texts, size) for size in (6, 6, 1))
    assert one.labels == two.labels == alone.labels
    assert (one.confidence == two.confidence).all()
    assert np.allclose(one.confidence, alone.confidence, atol=1e-5)
    assert ((one.confidence > 0) & (one.confidence <= 1)).all()


@pytest.mark.parametrize("method", ["full", "prompt"])
def test_an_answer_is_the_most_likely_next_token_time_and_again(saved_model, make_replies, method):
    model, _ = saved_model(method)
    text = make_replies(1)["text"][0]
    prompt = model.tokenizer(chat_template.prompt_text(model.tokenizer, json.loads(text)), add_special_tokens=False)[
        "input_ids"
    ]
    tokens = list(prompt)
    for _ in range(model.manifest.max_new_tokens):
        tokens.append(int(logits(model.network, [TokenizedExample(tokens, 0)])[-1].argmax()))
        if tokens[-1] == model.tokenizer.eos_token_id:
            break
    other = make_replies(5, seed=3)["text"].tolist()  # longer ones beside it: padding on the left
    answers = model.predict([*other, text], 6)
    assert answers.labels[-1] == model.tokenizer.decode(tokens[len(prompt) :], skip_special_tokens=True)
    mean = model.likelihood([TokenizedExample(tokens, len(prompt))]).nll[0] / (len(tokens) - len(prompt))
    assert answers.confidence[-1] == pytest.approx(np.exp(-mean), abs=1e-5)
    assert answers.tokens[-1] == len(tokens) - len(prompt)


def test_a_prompt_that_leaves_no_room_is_cut_from_the_left(saved_model, make_replies):
    model, _ = saved_model("lora")
    long = json.dumps([{"role": "user", "content": "invoice " * 400}])
    assert len(model._prompt(long, 12)) == model.manifest.max_tokens - 12
    assert model.predict([long], max_new_tokens=3).confidence.shape == (1,)


@pytest.mark.parametrize("method", METHODS)
def test_adapter_merged_and_reloaded_give_the_same_logits(saved_model, make_replies, method):
    """Within 1e-5 in float32, of logits of about 1; reloaded without merging, to the bit."""
    model, folder = saved_model(method)
    rows = rows_of(model, make_replies)
    before = logits(model.network, rows)
    assert torch.equal(before, logits(causal_lm.load(folder, "cpu").network, rows))
    again = causal_lm.load(folder, "cpu")
    moved, apart = causal_lm.merge(again, rows)
    assert torch.allclose(before, logits(again.network, rows), atol=1e-5)
    assert (moved > 0) == (method in ("lora", "dora", "ia3")) and max(moved, apart) < 1e-5
    plain = decoder.load_base(*base_of(Path(model.manifest.base_name.removeprefix("folder:"))), "fp32", CPU)[1]
    assert before.shape != logits(plain, rows).shape or (before - logits(plain, rows)).abs().max() > 1e-2


def test_an_adapter_that_is_lost_on_merging_is_refused(saved_model, make_replies, monkeypatch):
    _, folder = saved_model("lora")
    model = causal_lm.load(folder, "cpu")
    base = model.network.get_base_model()
    monkeypatch.setattr(model.network, "merge_and_unload", lambda: model.network.unload() and base)
    with pytest.raises(Refused, match="gives other logits when merged into its base: they move by"):
        causal_lm.merge(model, rows_of(model, make_replies))


@pytest.mark.parametrize("method", METHODS)
def test_the_same_weights_give_the_same_bytes_and_no_path_of_this_machine(
    saved_model, tiny_causal_lm, tmp_path, method
):
    model, folder = saved_model(method)
    again = build(tiny_causal_lm, method)
    causal_lm.save(tmp_path / "again", again.manifest, again.tokenizer, again.network)
    reloaded = causal_lm.load(folder, "cpu")
    causal_lm.save(tmp_path / "reloaded", model.manifest, reloaded.tokenizer, reloaded.network)
    assert file_hashes(folder) == file_hashes(tmp_path / "again") == file_hashes(tmp_path / "reloaded")
    assert {Path(name).suffix for name in file_hashes(folder)} <= SAFE
    for file in folder.rglob("*.json"):
        if file.name not in ("model.json", "adapter_config.json"):  # which name the base, here by its folder
            assert str(tiny_causal_lm) not in file.read_text("utf-8"), file


def test_answering_leaves_the_folder_that_would_be_saved_as_it_was(saved_model, make_replies, tmp_path):
    model, folder = saved_model("full")
    model.predict(make_replies(2)["text"].tolist())
    causal_lm.save(tmp_path, model.manifest, model.tokenizer, model.network)
    assert file_hashes(tmp_path) == file_hashes(folder)


def test_the_card_of_a_writer_is_none_of_a_classifier(saved_model, model_folder):
    _, folder = saved_model("lora")
    assert read_causal_lm(folder).method == "lora"
    with pytest.raises(WrongUse, match="writes texts"):
        read_classifier(folder)
    with pytest.raises(WrongUse, match="predicts labels"):
        causal_lm.load(model_folder)


def test_an_adapter_is_put_on_and_loaded_without_a_word_of_deprecation(tiny_causal_lm, tmp_path, recwarn):
    warnings.simplefilter("always")
    model = build(tiny_causal_lm, "lora")
    causal_lm.save(tmp_path, model.manifest, model.tokenizer, model.network)
    causal_lm.load(tmp_path, "cpu")
    assert [str(each.message) for each in recwarn if "gradient_checkpointing" in str(each.message)] == []
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):  # once it is gone, `model.quiet` may go
        assert model.network.get_base_model().is_gradient_checkpointing is False


def test_vllm_takes_the_adapter_as_it_was_saved(saved_model, monkeypatch):
    """By its own loader. It is no dependency: `pip install vllm` first, else this skips."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda model: model)  # which it asks for, and a CPU refuses
    lora_model = pytest.importorskip("vllm.lora.lora_model", exc_type=ImportError)
    from vllm.config.lora import LoRAConfig
    from vllm.lora.peft_helper import PEFTHelper

    model, folder = saved_model("lora")
    adapter = PEFTHelper.from_local_dir(str(folder / "adapter"), None)
    adapter.validate_legal(LoRAConfig(max_lora_rank=16))
    linear = {name.rpartition(".")[2] for name, part in model.network.named_modules() if isinstance(part, LoraLayer)}
    loaded = lora_model.LoRAModel.from_local_checkpoint(str(folder / "adapter"), linear, adapter, device="cpu")
    tensors = load_file(folder / "adapter/adapter_model.safetensors")
    assert 2 * len(loaded.loras) == len(tensors) > 0
    assert (loaded.rank, adapter.vllm_lora_scaling_factor) == (4, 2.0)
    for name, layer in loaded.loras.items():
        for half, value in (("lora_A", layer.lora_a), ("lora_B", layer.lora_b)):
            assert torch.equal(value, tensors[f"base_model.model.{name}.{half}.weight"]), name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("moved", [0.001, 0.02], ids=["little", "far"])
def test_in_bf16_an_adapter_of_eight_billion_weights_merges_within_what_is_allowed(moved):
    shape = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_key_value_heads": 8}
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        config = LlamaConfig(**shape, vocab_size=128256, attn_implementation="sdpa")
        network = decoder.add_lora(LlamaForCausalLM(config), "random", 16, 32, 0.0, False, False).eval()
    torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter += moved * torch.randn_like(parameter)
    AttentionInterface.register(attention.NAME, attention.packed)
    AttentionMaskInterface.register(attention.NAME, attention.no_mask)
    network.set_attn_implementation(attention.NAME)
    model = causal_lm.CausalLM(CausalLMManifest("instruct", "lora", "random", "", 128, 12, "chatml"), None, network)
    moved, apart = causal_lm.merge(
        model, [TokenizedExample(list(range(5, 105)), 1), TokenizedExample(list(range(900, 940)), 10)]
    )
    print(f"moved by {moved:.4f} of the largest logit, two ways {apart:.4f} apart")
    assert 0 < moved < causal_lm.MERGED * apart
