"""Whole trainings of a tiny base: the same bits again, also after being killed; models that survive reloading."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from retune.data import row_table
from retune.errors import Broken, Refused
from retune.lineage import parent_version
from retune.models import classifier
from retune.models.manifest import ClassifierManifest, read_classifier
from retune.system import stage_io
from tasks.train.__main__ import fingerprint, main
from tasks.train.context import train_context
from tasks.train.encoder import fit as story
from tasks.train.encoder.fit import fit, unusual_rate
from tasks.train.loop import TrainingHistory
from tests.support.environment import ROOT
from tests.support.tree_hashes import file_hashes

QUIET = lambda *_, **__: None  # noqa: E731
SAFE = {".json", ".safetensors", ".txt"}


def trained(folder, train, val, params):
    """Fit and save; returns the model folder, the report and what the model said before it was saved."""
    result = fit(train, val, train_context(params, folder / "work", QUIET))
    loaded = classifier.Classifier(result.manifest, result.tokenizer, result.model.encoder, result.model.head)
    before = loaded.predict(val["text"].tolist(), 16)
    result.save(folder / "model")
    return folder / "model", result.report, before


@pytest.fixture(scope="module")
def ticket_tables(make_tickets):
    return make_tickets(48), make_tickets(24, seed=2)


@pytest.mark.parametrize("method", ["probe", "lora", "full"])
def test_each_method_makes_the_same_bits_twice_and_says_the_same_once_reloaded(
    tmp_path, ticket_tables, train_config, method
):
    folders = []
    for attempt in ("one", "two"):
        folder, report, before = trained(tmp_path / attempt, *ticket_tables, train_config(method=method))
        folders.append(file_hashes(folder))
    assert folders[0] == folders[1]
    assert {Path(name).suffix for name in folders[0]} <= SAFE

    after = classifier.load(folder, "cpu").predict(ticket_tables[1]["text"].tolist(), 16)
    assert after.labels == before.labels
    assert np.abs(after.confidence - before.confidence).max() < 1e-5
    assert np.mean(np.array(after.labels) == ticket_tables[1]["label"]) > 0.6, "it learned something"
    learned, whole = report["trained_parameters"], report["parameters"]
    assert {"probe": learned == 99, "lora": 99 < learned < whole, "full": learned == whole}[method]


@pytest.mark.parametrize("method", ["probe", "full"])
@pytest.mark.parametrize("refit", [True, False])
def test_validation_says_what_the_chosen_epoch_said_before_it_was_refitted(
    tmp_path, make_tickets, train_config, method, refit
):
    train, val = make_tickets(48), make_tickets(36, seed=2)
    models = {}
    for again in (refit, False):
        context = train_context(train_config(method=method, refit=again), tmp_path / str(again), QUIET)
        models[again] = fit(train, val, context)
    model, chosen = models[refit], models[False]
    network = classifier.Classifier(chosen.manifest, chosen.tokenizer, chosen.model.encoder, chosen.model.head)
    expected = network.predict(val["text"].tolist(), 16)
    assert model.validation["id"].tolist() == val["id"].tolist()
    assert model.validation["predicted"].tolist() == expected.labels
    assert model.validation["confidence"].to_numpy() == pytest.approx(expected.confidence, abs=1e-6)
    assert model.manifest.temperature == chosen.manifest.temperature != 1


def test_a_model_that_learned_from_all_validation_rows_says_nothing_of_them(tmp_path, make_tickets):
    manifest = ClassifierManifest("full", ["a", "b"], "folder:/base", "0" * 64, 32)
    row_table.write(story._validation(make_tickets(9), torch.empty((0, 2)), manifest), tmp_path / "validation.parquet")
    table = row_table.read(tmp_path / "validation.parquet")
    assert table.empty
    assert list(table) == ["id", "label", "predicted", "confidence"]


def test_fine_tuning_moves_the_encoder_and_leaves_the_probe_in_the_folder(tmp_path, ticket_tables, train_config):
    folder, _, _ = trained(tmp_path, *ticket_tables, train_config(method="full"))
    texts = ticket_tables[1]["text"].tolist()
    assert not torch.equal(
        classifier.load(folder, "cpu").embed(texts), classifier.load_probe(folder, "cpu").embed(texts)
    )
    probe_only, _, _ = trained(tmp_path / "probe", *ticket_tables, train_config(method="probe"))
    assert file_hashes(folder)["probe.safetensors"] == file_hashes(probe_only)["head.safetensors"]


def test_the_tokenizer_of_a_folder_cuts_nothing_by_itself(tmp_path, ticket_tables, train_config):
    """Else the length of whichever call came last would be saved with it."""
    folder, _, _ = trained(tmp_path, *ticket_tables, train_config(method="probe", max_tokens=8))
    assert json.loads((folder / "tokenizer" / "tokenizer.json").read_text("utf-8"))["truncation"] is None


def test_dropout_reaches_the_encoder(tmp_path, ticket_tables, train_config):
    folders = [trained(tmp_path / str(share), *ticket_tables, train_config(dropout=share))[0] for share in (0.0, 0.3)]
    assert file_hashes(folders[0])["head.safetensors"] != file_hashes(folders[1])["head.safetensors"]


@pytest.mark.parametrize("method", ["probe", "full"])
def test_two_labels_are_enough(tmp_path, make_tickets, train_config, method):
    labels = ("bills", "parcels")
    folder, _, before = trained(
        tmp_path, make_tickets(40, labels=labels), make_tickets(20, 2, labels), train_config(method=method)
    )
    predictions = classifier.load(folder, "cpu").predict(make_tickets(20, 2, labels)["text"].tolist())
    assert predictions.labels == before.labels
    assert set(predictions.labels) == set(labels)
    assert predictions.confidence.min() >= 0.5


def test_a_label_that_only_validation_knows_is_carried_and_never_guessed_by_the_probe(
    tmp_path, make_tickets, train_config
):
    train = make_tickets(40, labels=("bills", "parcels"))
    folder, _, before = trained(tmp_path, train, make_tickets(24, seed=2), train_config(method="probe"))
    assert read_classifier(folder).labels == ["bills", "parcels", "repairs"]
    assert "repairs" not in before.labels


def test_refit_learns_from_train_and_val(tmp_path, ticket_tables, train_config):
    train, val = ticket_tables
    folder, report, _ = trained(tmp_path / "refit", train, val, train_config(refit=True))
    assert report["rows"] == len(train) + len(val)
    both = pd.concat([train, val], ignore_index=True)
    by_hand, _, _ = trained(tmp_path / "by hand", both, val, train_config(method="probe"))
    plain, report, _ = trained(tmp_path / "plain", train, val, train_config())
    assert report["rows"] == len(train)
    vectors = classifier.load_probe(folder, "cpu").embed(val["text"].tolist())
    refit, same, other = (classifier.load_probe(each, "cpu").head(vectors) for each in (folder, by_hand, plain))
    assert torch.allclose(refit, same, atol=1e-2)  # vectors of other batches differ in the last bits
    assert not torch.allclose(refit, other, atol=1e-1)


@pytest.mark.parametrize("best", [1, 3])
def test_refit_takes_as_many_epochs_as_were_best(tmp_path, ticket_tables, train_config, monkeypatch, best):
    rounds = []

    def recorded(encoder, head, data, context):
        rounds.append((len(data.train.label_ids), data.epochs))
        return TrainingHistory(best_epoch=best)

    monkeypatch.setattr(story, "fine_tune", recorded)
    train, val = ticket_tables
    fit(train, val, train_context(train_config(refit=True, epochs=7), tmp_path, QUIET))
    assert rounds == [(len(train), 7), (len(train) + len(val), best)]


def test_one_curve_shows_choosing_and_refit_one_after_the_other(tmp_path, ticket_tables, train_config):
    reported = []
    train, val = ticket_tables
    context = train_context(
        train_config(refit=True, epochs=2), tmp_path, lambda step, total, **_: reported.append(step)
    )
    points = fit(train, val, context).model.history.points
    steps = [point["step"] for point in points]
    assert steps == reported == sorted(steps)
    assert sum("val_macro_f1" in point for point in points) == 2
    assert "train_loss" in points[-1]


def test_balanced_weights_make_every_label_weigh_the_same(tmp_path, make_tickets, train_config):
    rows = make_tickets(60)
    rare = rows[(rows["label"] != "repairs") | (rows.index % 12 == 2)]
    val = make_tickets(60, seed=2)
    recall = {}
    for kind in ("none", "balanced"):
        _, _, weights = trained(tmp_path / kind, rare, val, train_config(method="probe", class_weights=kind))
        recall[kind] = np.mean(np.array(weights.labels)[val["label"] == "repairs"] == "repairs")
    assert recall["balanced"] > recall["none"]


def test_balanced_weights_by_hand():
    weights = story._class_weights([0, 0, 0, 1], 3, "balanced")
    assert weights.tolist() == pytest.approx([4 / 6, 2.0, 0.0])
    assert story._class_weights([0, 0, 0, 1], 3, "none") is None


def test_a_learning_rate_far_from_the_usual_is_warned_of_and_reported(tmp_path, ticket_tables, train_config, capsys):
    lora = train_config().lora
    assert unusual_rate(train_config(method="lora", lora=replace(lora, learning_rate=1e-3))) == []
    assert unusual_rate(train_config(method="probe")) == []
    (warning,) = unusual_rate(train_config(method="lora", lora=replace(lora, learning_rate=2e-5)))
    assert "train.lora.learning_rate is 2e-05" in warning
    _, report, _ = trained(tmp_path, *ticket_tables, train_config(epochs=1))  # 1e-3 is much for method full
    assert report["warnings"] == unusual_rate(train_config())
    assert f"warning: {report['warnings'][0]}" in capsys.readouterr().out


def test_the_inputs_of_fit_are_left_as_they_were(tmp_path, ticket_tables, train_config):
    before = [side.copy(deep=True) for side in ticket_tables]
    fit(*ticket_tables, train_context(train_config(method="probe"), tmp_path, QUIET))
    assert all(side.equals(copy) for side, copy in zip(ticket_tables, before, strict=True))


def test_a_base_with_other_weights_is_refused_by_name_and_hash(tmp_path, ticket_tables, train_config):
    base = train_config().base
    with pytest.raises(Refused, match=f"{base.sha256}, not {'0' * 64}"):
        fit(*ticket_tables, train_context(train_config(base=replace(base, sha256="0" * 64)), tmp_path, QUIET))


class Desk:
    """A folder with two sides and a params.yaml for a few hundred steps, and the stage at work in it."""

    def __init__(self, folder, make_tickets, settings):
        self.folder, self.settings = folder, settings
        row_table.write(make_tickets(64), folder / "train.parquet")
        row_table.write(make_tickets(24, seed=2), folder / "val.parquet")
        row_table.write(make_tickets(0), folder / "general.parquet")
        parent_version.write(None, folder / "start.json")
        self.write(batch_size=4, epochs=10, patience=99, checkpoint_seconds=0.05, refit=True)

    def write(self, **changes):
        values = {**self.settings, "train": {**self.settings["train"], **changes}}
        (self.folder / "params.yaml").write_text(yaml.safe_dump(values), "utf-8")

    def paths(self, out):
        read = ["train.parquet", "val.parquet", "general.parquet", "start.json"]
        return [*read, f"{out}/model", f"{out}/reports", f"{out}/work"]

    def train(self, out):
        """The stage, here and now."""
        main(*map(Path, self.paths(out)))

    def checkpoints(self, out):
        return sorted((self.folder / out / "work").glob("*/choose/step-*"))

    @contextmanager
    def stopped_in_the_middle(self, out):
        """The stage in a process of its own: held still behind its second checkpoint, then killed."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.train", *self.paths(out)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())},
            stdout=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + 120
            while len(self.checkpoints(out)) < 2:
                assert process.poll() is None, "the trainer ended early"
                assert time.monotonic() < until
                time.sleep(0.005)
            process.send_signal(signal.SIGSTOP)
            yield
        finally:
            process.kill()
            process.wait()
        assert process.returncode == -signal.SIGKILL


@pytest.fixture
def stage_folders(tmp_path, make_tickets, settings, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path, make_tickets, settings)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits_even_from_the_checkpoint_before_a_damaged_one(stage_folders, capsys):
    stage_folders.train("undisturbed")
    assert list((stage_folders.folder / "undisturbed" / "work").rglob("step-*")) == []

    with stage_folders.stopped_in_the_middle("killed"), pytest.raises(Broken, match="another trainer is at work"):
        stage_folders.train("killed")
    assert not (stage_folders.folder / "killed" / "model").exists()

    before, newest = stage_folders.checkpoints("killed")[-2:]
    torn = newest / "tensors.safetensors"
    torn.write_bytes(torn.read_bytes()[:1000])
    capsys.readouterr()
    stage_folders.train("killed")
    output = capsys.readouterr().out
    assert f"{newest.name} is damaged and is left out" in output
    assert f"going on from the checkpoint of step {int(before.name[-8:])} of 160" in output
    undisturbed, killed = stage_folders.folder / "undisturbed", stage_folders.folder / "killed"
    assert file_hashes(killed / "model") == file_hashes(undisturbed / "model")
    name = "reports/learning_curve.csv"
    assert (killed / name).read_bytes() == (undisturbed / name).read_bytes()


def test_a_damaged_base_ends_the_stage_with_1_and_names_the_hash(stage_folders, tiny_base, monkeypatch, capsys):
    spoiled = shutil.copytree(tiny_base, stage_folders.folder / "spoiled")
    weights = bytearray((spoiled / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (spoiled / "model.safetensors").write_bytes(weights)
    good = stage_folders.settings["train"]["base"]["sha256"]
    stage_folders.write(base={"name": f"folder:{spoiled}", "sha256": good})
    monkeypatch.setattr(sys, "argv", ["train", *stage_folders.paths("out")])
    with pytest.raises(SystemExit) as ended:
        stage_io.run(main)
    errors = capsys.readouterr().err
    assert ended.value.code == 1
    assert good in errors
    assert hashlib.sha256(weights).hexdigest() in errors
    assert not (stage_folders.folder / "out" / "model").exists()


def test_what_a_run_depends_on_names_its_checkpoints(stage_folders, train_config):
    train, val, base, other = (
        stage_folders.folder / name for name in ("train.parquet", "val.parquet", "start.json", "other")
    )
    parent_version.write(
        parent_version.ParentVersion(
            "tickets/1", "0" * 64, "0" * 40, "0" * 64, "0" * 32 + ".dir", "0" * 32, "0" * 32, True
        ),
        other,
    )
    fingerprints = {
        fingerprint((train, val, base), train_config()),
        fingerprint((val, train, base), train_config()),
        fingerprint((train, val, other), train_config()),
        fingerprint((train, val, base), train_config(seed=18)),
        fingerprint((train, val, base), train_config(base=replace(train_config().base, sha256="0" * 64))),
    }
    assert len(fingerprints) == 5
    assert fingerprint((train, val, base), train_config()) in fingerprints
