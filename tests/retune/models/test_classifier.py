import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from retune.errors import Refused, WrongUse
from retune.models import classifier

TEXTS = ["my invoice is lost", "the box", "", "hello " * 60, "broken cable please restart the screen"]


@pytest.fixture(scope="module")
def loaded_model(model_folder):
    return classifier.load(model_folder, "cpu")


def test_a_text_means_the_same_alone_and_in_any_batch(loaded_model):
    together = loaded_model.embed(TEXTS, batch_size=2)
    alone = torch.cat([loaded_model.embed([text]) for text in TEXTS])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(together.norm(dim=-1), torch.ones(len(TEXTS)), atol=1e-5)


def test_predictions_come_in_the_order_of_the_texts(loaded_model):
    forward, backward = loaded_model.predict(TEXTS, 2), loaded_model.predict(TEXTS[::-1], 2)
    assert forward.labels == backward.labels[::-1]
    assert forward.confidence == pytest.approx(backward.confidence[::-1], abs=1e-5)


def test_no_text_gets_no_label(loaded_model):
    predictions = loaded_model.predict([])
    assert (predictions.labels, len(predictions.confidence)) == ([], 0)


def test_the_confidence_is_the_probability_of_the_label(loaded_model):
    predictions = loaded_model.predict(TEXTS)
    with torch.no_grad():
        logits = loaded_model.head(loaded_model.embed(TEXTS))
    probability = (logits / loaded_model.manifest.temperature).softmax(-1).numpy()
    assert predictions.confidence == pytest.approx(probability.max(-1), abs=1e-6)
    assert [loaded_model.manifest.labels.index(label) for label in predictions.labels] == probability.argmax(
        -1
    ).tolist()


def test_words_beyond_max_tokens_do_not_count(loaded_model):
    limit = loaded_model.manifest.max_tokens
    texts = ["hello " * (limit - 2) + rest for rest in ("invoice", "broken broken broken")]
    one, other = loaded_model.embed(texts)
    assert torch.equal(one, other)


def test_the_base_without_tuning_answers_with_the_nearest_label_name(loaded_model):
    head = classifier.head_of_names(["broken screen", "invoice paid"], loaded_model.embed)
    predictions = classifier.predict_labels(
        loaded_model.embed(["screen broken", "paid invoice"]), head, ["broken screen", "invoice_paid"]
    )
    assert predictions.labels == ["broken screen", "invoice_paid"]


def test_a_base_with_one_byte_changed_is_refused_by_both_hashes(tiny_base, tmp_path, settings):
    good = settings["train"]["base"]["sha256"]
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    classifier.load_base(f"folder:{folder}", good)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(Refused) as refused:
        classifier.load_base(f"folder:{folder}", good)
    assert good in str(refused.value)
    assert hashlib.sha256(weights).hexdigest() in str(refused.value)


def test_a_model_whose_base_was_swapped_is_not_loaded(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    card = json.loads((folder / "model.json").read_text("utf-8"))
    (folder / "model.json").write_text(json.dumps({**card, "base_sha256": "0" * 64}), "utf-8")
    with pytest.raises(Refused, match="restore that base"):
        classifier.load(folder, "cpu")


def test_a_folder_without_a_card_is_no_model_and_a_damaged_card_is_refused(model_folder, tmp_path):
    with pytest.raises(WrongUse, match="is not a model folder"):
        classifier.load(tmp_path)
    for text in ("{", "{}", "[1]", '{"method": "full", "more": 1}'):
        (tmp_path / "model.json").write_text(text, "utf-8")
        with pytest.raises(Refused, match="is damaged"):
            classifier.load(tmp_path)


def test_cuda_is_wrong_use_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert classifier.pick_device("auto").type == "cpu"
    with pytest.raises(WrongUse, match="no CUDA device"):
        classifier.pick_device("cuda")


def test_an_adapter_is_written_alike_everywhere_with_no_path_of_this_machine(
    tmp_path, tiny_base, settings, loaded_model
):
    base = settings["train"]["base"]
    tokenizer, network = classifier.load_base(base["name"], base["sha256"])
    network = classifier.add_adapter(network, 2, 4, 0.0, "package:the-base")
    card = replace(loaded_model.manifest, method="lora")
    classifier.save(
        tmp_path / "out", card, tokenizer, classifier.Encoder(network), loaded_model.head, loaded_model.head
    )
    text = (tmp_path / "out" / "adapter" / "adapter_config.json").read_text("utf-8")
    config = json.loads(text)
    assert str(tiny_base) not in text
    assert config["base_model_name_or_path"] == "package:the-base"
    assert config["target_modules"] == sorted(config["target_modules"]), "PEFT writes a set, in any order"


def test_padding_is_masked():
    ids, mask = classifier.batch([[5, 6, 7], [8]], pad=0, device=torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert np.array_equal(mask.sum(1), [3, 1])


def test_a_model_that_gives_no_numbers_answers_nothing():
    head = classifier.linear(torch.tensor([[1.0, 0.0], [float("nan"), 0.0]]), torch.zeros(2))
    with pytest.raises(Refused, match="gives no number for 2 of 2 texts"):
        classifier.predict_labels(torch.ones(2, 2), head, ["a", "b"])
