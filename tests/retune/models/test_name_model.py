import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

from retune.errors import WrongUse
from retune.models import name_model

WORDS = ["[UNK]", "[PAD]", "Ann", "Lee", "and", "met", "Bob"]


def save_model(folder, labels):
    """A model that takes Ann, Lee and Bob for the second label: its embeddings alone decide."""
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=4, num_attention_heads=1, num_hidden_layers=0, intermediate_size=4,
        id2label=dict(enumerate(labels)), label2id={label: place for place, label in enumerate(labels)},
    )  # fmt: skip
    model = BertForTokenClassification(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
        model.bert.embeddings.LayerNorm.weight.fill_(1.0)
        for name in ("Ann", "Lee", "Bob"):
            model.bert.embeddings.word_embeddings.weight[WORDS.index(name), 0] = 1.0
        model.classifier.weight[1, 0] = 1.0
        model.classifier.bias[0] = 0.5
    model.save_pretrained(folder)
    return f"folder:{folder}"


def test_names_are_whole_and_stand_where_the_model_says(tmp_path):
    names = name_model.load(save_model(tmp_path, ["O", "B-PER"]))
    text = "Ann Lee met Bob, and Ann"
    assert [text[start:end] for start, end in names(text)] == ["Ann Lee", "Bob", "Ann"]
    assert names("") == names("and met") == []
    long = "met " * 900 + "Ann Lee"
    assert [long[start:end] for start, end in names(long)] == ["Ann Lee"]


def test_a_model_without_people_is_refused(tmp_path):
    with pytest.raises(WrongUse, match="has no label PER or PERSON, only O, LOC"):
        name_model.load(save_model(tmp_path, ["O", "LOC"]))


def test_a_model_that_does_not_load_is_refused_in_one_line(tmp_path):
    name = save_model(tmp_path, ["O", "PER"])
    (tmp_path / "config.json").write_text("{}", "utf-8")
    with pytest.raises(WrongUse, match=r"does not load: .*: name a token-classification model"):
        name_model.load(name)
