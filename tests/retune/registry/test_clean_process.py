import json
import shutil
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from retune.errors import Broken
from retune.models import causal_lm, chat_template, classifier, decoder, routing
from retune.models.base_model import weights_sha256
from retune.models.manifest import CausalLMManifest
from retune.registry import backend, clean_process, versions

PROMPTS = ["Where is my parcel?", "The screen is broken."]
TEXTS = ["my invoice was charged", "the courier lost the box", "broken screen", ""]

pytestmark = pytest.mark.usefixtures("sqlite_registry")


@pytest.mark.slow
def test_a_version_says_the_same_in_a_clean_process_with_its_own_code_and_no_pickle(
    sealed_version, model_folder, sqlite_registry, tmp_path
):
    expected = classifier.load(model_folder, "cpu").predict(TEXTS)
    folder = shutil.copytree(model_folder, tmp_path / "candidate")
    rule = {"threshold": float(np.median(expected.confidence)), "labels": {}, "reason": "proved on test"}
    (folder / routing.FILE).write_text(json.dumps(rule), "utf-8")
    version, _ = sealed_version(folder)
    with clean_process.clean_process() as reader:
        predictions = clean_process.predict_in_clean_process(reader, version, TEXTS)
    assert predictions["label"].tolist() == expected.labels
    assert predictions["confidence"].to_numpy() == pytest.approx(expected.confidence, abs=1e-6)
    assert predictions["route"].tolist() == routing.parse(rule).routes(expected.labels, expected.confidence)
    assert set(predictions["route"]) == {"auto", "human"}

    root = Path(backend.client().get_run(version.run_id).info.artifact_uri.removeprefix("file://"))
    assert root.is_relative_to(sqlite_registry / ".retune" / "artifacts")
    packed = {file.relative_to(root) for file in root.rglob("*") if file.is_file()}
    assert {file.suffix for file in packed} <= {".json", ".safetensors", ".txt", ".py", ".yaml", ""}
    plain = {"MLmodel", "SHA256SUMS", "__pycache__", "registered_model_meta"}
    assert {file.name for file in packed if not file.suffix} <= plain
    code = [file for file in packed if file.is_relative_to("model/code") and file.name != "__pycache__"]
    assert {str(file.relative_to("model/code")) for file in code} == {f"retune/{name}" for name in versions.CARRIED}
    (folder,) = (versions.checked_folder(version) / "artifacts").iterdir()
    again = classifier.load(folder, "cpu").predict(TEXTS)
    assert again.labels == expected.labels


@pytest.mark.slow
def test_an_adapter_on_a_base_in_a_folder_says_what_it_learned_once_it_is_registered(
    sealed_version, tiny_causal_lm, tmp_path
):
    """Logged by MLflow's own hand, such a model loads with its query and value weights drawn anew (mlflow#23761)."""
    model = adapted(tiny_causal_lm)
    causal_lm.save(tmp_path / "model", model.manifest, model.tokenizer, model.network)
    version, _ = sealed_version(tmp_path / "model")
    expected, prompts = causal_lm.load(tmp_path / "model", "cpu").predict(PROMPTS), list(PROMPTS)
    with clean_process.clean_process() as reader:
        predictions = clean_process.predict_in_clean_process(reader, version, prompts)
    assert predictions["label"].tolist() == expected.labels
    assert predictions["confidence"].to_numpy() == pytest.approx(expected.confidence, abs=1e-5)
    without = causal_lm.load_base_model(tmp_path / "model", "cpu").predict(PROMPTS)
    assert without.labels != expected.labels, "else it would show nothing"


def adapted(base):
    """A decoder under LoRA, its adapter moved away from where it starts."""
    name, sha256 = f"folder:{base}", weights_sha256(base)
    tokenizer, network = decoder.load_base(name, sha256, "fp32", torch.device("cpu"))
    chat_template.choose(tokenizer, "chatml")
    network = decoder.add_lora(network, name, 4, 8, 0.0, False, False)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    return causal_lm.CausalLM(
        CausalLMManifest("instruct", "lora", name, sha256, 128, 6, "chatml"), tokenizer, network.eval()
    )


@pytest.mark.slow
@pytest.mark.parametrize("file", ["head.safetensors", "pyfunc.py"])
def test_a_changed_version_is_not_served_by_plain_mlflow_either(sealed_version, file):
    version, folder = sealed_version()
    (path,) = folder.rglob(file)
    path.write_bytes(path.read_bytes() + b"\n")
    with clean_process.clean_process() as reader, pytest.raises(Broken, match=f"{file} is not what was registered"):
        clean_process.predict_in_clean_process(reader, version, TEXTS)


@pytest.mark.slow
def test_a_clean_process_that_cannot_load_the_version_says_why(model_names, add_version):
    version = add_version(next(model_names))  # a folder that holds no model
    with clean_process.clean_process() as reader, pytest.raises(Broken, match="does not load in a clean process"):
        clean_process.predict_in_clean_process(reader, version, TEXTS)


def test_a_clean_process_ends_with_its_block_even_if_that_fails():
    with pytest.raises(ZeroDivisionError), clean_process.clean_process() as reader:
        assert reader.poll() is None
        raise ZeroDivisionError
    assert reader.returncode == -signal.SIGKILL


def test_a_clean_process_does_not_outlive_a_killed_parent(sqlite_registry, start_program):
    program = (
        "import time; from retune.registry import clean_process\n"
        "with clean_process.clean_process() as reader: print(reader.pid, flush=True); time.sleep(600)"
    )
    parent = start_program(program, sqlite_registry)
    reader = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs([reader], timeout=5)  # also while it imports
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]
