"""The base that bench/small_decoder.py makes: the same bytes twice, found by the door that finds every other base."""

import csv
import os
import re
import subprocess
import sys

import pytest

from retune.models import base_model
from tests.support.environment import ROOT

TWICE = """
import sys
from pathlib import Path
import small_decoder as made
texts = made.documents(made.SEED, 600)
for name in sys.argv[1:]:
    print(made.make(Path(name), texts, "a test", steps=2))
"""


def run(program, *arguments):
    output = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'bench'}"},
        capture_output=True,
        text=True,
    )
    assert output.returncode == 0, output.stderr
    return output.stdout


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folders = [tmp_path_factory.mktemp("bases") / name for name in ("one", "other")]
    return folders, run(TWICE, *map(str, folders))


@pytest.mark.slow
def test_two_runs_write_the_same_bytes_and_tell_their_hash(bases):
    (one, other), output = bases
    assert base_model.hashes(one) == base_model.hashes(other)
    assert set(base_model.hashes(one)) >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    hashes = re.findall(r"^[0-9a-f]{64}$", output, re.MULTILINE)
    assert hashes == [base_model.weights_sha256(one)] * 2


@pytest.mark.slow
def test_a_params_file_can_name_it_and_its_licence_is_known(bases):
    folder = bases[0][0]
    assert base_model.find(f"folder:{folder}") == folder
    assert "apache-2.0" in base_model.licence(f"folder:{folder}", folder)


@pytest.mark.slow
def test_padding_is_not_the_end_and_any_text_comes_back(bases):
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(bases[0][0])
    config = AutoConfig.from_pretrained(bases[0][0])
    assert tokenizer.eos_token_id == config.eos_token_id != config.pad_token_id == tokenizer.pad_token_id
    text = "Grüße, 你好!\n  <|im_start|>user\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_no_text_that_it_learns_from_stands_in_the_samples():
    program = "import small_text; print('\\n'.join(small_text.documents(17, 3000)))"
    learned = run(program)
    for name in ("replies.csv", "preferences.csv"):
        with (ROOT / "tests/samples" / name).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        replies = {line for row in rows for line in row.get("completion", row.get("chosen", "")).split("\n") if line}
        assert not [line for line in {*replies, *(row["prompt"] for row in rows)} if line in learned]
