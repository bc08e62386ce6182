"""To go on from an earlier version: which rows, which head, and what comes of it. Real trainings of a tiny base."""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from retune.config.classification import Incremental
from retune.data import row_table
from retune.errors import Refused
from retune.lineage import parent_version
from retune.models import classifier
from retune.models.manifest import read_classifier
from retune.system import dvc_store, stage_io
from tasks.train import parent
from tasks.train.__main__ import main
from tasks.train.context import train_context
from tasks.train.encoder.fit import fit
from tasks.train.parent import CONTENT, ParentClassifier, carry_head, check, select_rows

EARLIER = parent_version.ParentVersion(
    "tickets/3", "5" * 64, "c" * 40, "f" * 64, "1" * 32 + ".dir", "2" * 32, "3" * 32, False
)
QUIET = lambda *_, **__: None  # noqa: E731


def knowing(rows, begins=EARLIER, folder=None):
    """A champion that learned from these rows."""
    return ParentClassifier(begins, folder, read_classifier(folder) if folder else None, rows[CONTENT])


def sides_of(rows):
    return set(rows["id"])


def test_every_new_or_corrected_row_is_taken_and_a_share_of_the_old_of_each_label(make_tickets):
    old_rows, more = make_tickets(60), make_tickets(10, seed=2)
    rows = pd.concat([old_rows, more], ignore_index=True)
    rows.loc[0, "label"], rows.loc[1, "text"], rows.loc[2, "group"] = "parcels", "another text", "C-1"
    choice = select_rows(rows, sides_of(rows), knowing(old_rows), 0.2, seed=17)
    chosen_rows = rows.iloc[choice.rows]
    assert (choice.new, choice.corrected, choice.gone) == (12, 2, 0), "a group teaches nothing"
    assert {*more["id"], rows["id"][0], rows["id"][1]} <= set(chosen_rows["id"])
    assert choice.old == len(chosen_rows) - 12
    counts = rows.iloc[2:60].groupby("label").size()
    again = chosen_rows[chosen_rows["id"].isin(rows["id"][2:60])].groupby("label").size()
    assert again.to_dict() == {label: int(np.ceil(0.2 * count)) for label, count in counts.items()}
    assert list(choice.rows) == sorted(set(choice.rows))


def test_the_same_rows_are_chosen_again_and_others_for_another_seed_or_champion(make_tickets):
    rows = make_tickets(300)
    choices = [
        tuple(select_rows(rows, sides_of(rows), champion, 0.1, seed).rows)
        for champion, seed in [
            (knowing(rows), 17),
            (knowing(rows), 17),
            (knowing(rows), 18),
            (knowing(rows, replace(EARLIER, fingerprint="e" * 64)), 17),
        ]
    ]
    assert choices[0] == choices[1]
    assert len(set(choices)) == 3
    shuffled = rows.sample(frac=1, random_state=1)
    again = shuffled.iloc[select_rows(shuffled, sides_of(rows), knowing(rows), 0.1, 17).rows]
    assert set(again["id"]) == set(rows.iloc[list(choices[0])]["id"]), "whatever their order"


def test_no_old_label_goes_unseen_however_small_the_share(make_tickets):
    rows = make_tickets(30)
    chosen_rows = rows.iloc[select_rows(rows, sides_of(rows), knowing(rows), 0.001, 17).rows]
    assert sorted(chosen_rows["label"]) == ["bills", "parcels", "repairs"]
    assert len(select_rows(rows, sides_of(rows), knowing(rows), 1.0, 17).rows) == 30


def test_rows_that_are_no_longer_there_are_counted_and_those_that_moved_to_val_are_not(make_tickets):
    old_rows = make_tickets(30)
    choice = select_rows(old_rows.iloc[:20], sides_of(old_rows.iloc[:25]), knowing(old_rows), 0.5, 17)
    assert (choice.new, choice.gone) == (0, 5)


def test_a_known_label_keeps_its_row_a_new_one_gets_a_fresh_one_and_a_label_that_is_gone_has_none():
    earlier_head = classifier.linear(torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), torch.tensor([1.0, 2.0, 3.0]))
    fresh = classifier.linear(torch.full((3, 2), 9.0), torch.tensor([7.0, 8.0, 9.0]))
    head = carry_head(earlier_head, ["a", "b", "d"], ["b", "c", "d"], fresh)
    assert head.weight.tolist() == [[2.0, 2.0], [9.0, 9.0], [3.0, 3.0]]
    assert head.bias.tolist() == [2.0, 8.0, 3.0]
    assert torch.equal(carry_head(earlier_head, ["a", "b", "d"], ["a", "b", "d"], None).weight, earlier_head.weight)


def trained(folder, train, val, params, earlier=None):
    result = fit(train, val, train_context(params, folder / "work", QUIET), earlier)
    result.save(folder / "model")
    return folder / "model", result.report


@pytest.fixture(scope="module")
def first_tables(make_tickets):
    """What the champion saw: two of the three labels."""
    labels = ("bills", "parcels")
    return make_tickets(48, labels=labels), make_tickets(24, 2, labels)


@pytest.fixture(scope="module")
def champion_folders(first_tables, train_config, tmp_path_factory):
    """method -> the folder of a champion that was trained with it."""
    folder = tmp_path_factory.mktemp("champions")
    return {
        method: trained(folder / method, *first_tables, train_config(method=method))[0]
        for method in ("lora", "full", "probe")
    }


@pytest.mark.parametrize(
    ("method", "changes", "why"),
    [
        ("lora", {"method": "full"}, "train.method is 'full', its own was 'lora'"),
        ("full", {"method": "probe"}, "train.method is 'probe', its own was 'full'"),
        ("probe", {"method": "probe"}, "method probe is fitted anew in seconds"),
        ("full", {"base": "another"}, "train.base.sha256 is '0000"),
        ("lora", {"method": "lora", "rank": 8}, "train.lora.rank is 8, its own was 16"),
    ],
)
def test_weights_that_these_params_would_not_have_made_are_not_continued(
    champion_folders, first_tables, train_config, method, changes, why
):
    params = train_config(method=changes.get("method", method))
    if "base" in changes:
        params = replace(params, base=replace(params.base, sha256="0" * 64))
    if "rank" in changes:
        params = replace(params, lora=replace(params.lora, rank=8))
    with pytest.raises(Refused, match=r"cannot continue from tickets/3: .*from the base") as refused:
        check(knowing(first_tables[0], folder=champion_folders[method]), params)
    assert why in str(refused.value)
    check(knowing(first_tables[0], folder=champion_folders["full"]), train_config(method="full", max_tokens=16, seed=3))


@pytest.mark.parametrize("method", ["full", pytest.param("lora", marks=pytest.mark.slow)])
def test_to_continue_teaches_a_new_label_and_keeps_the_old_ones(
    tmp_path, champion_folders, first_tables, train_config, make_tickets, method
):
    """Against doing nothing, and twice to the same bits."""
    train = pd.concat([first_tables[0], make_tickets(90, seed=5)], ignore_index=True)
    val = pd.concat([first_tables[1], make_tickets(12, seed=6)], ignore_index=True)
    params = train_config(method=method, incremental=Incremental(replay_share=0.5, epochs=2, learning_rate_factor=1.0))
    earlier = knowing(first_tables[0], folder=champion_folders[method])
    folder, report = trained(tmp_path / "one", train, val, params, earlier)
    begins = report["start"]
    assert (begins["from"], begins["new_rows"], begins["old_rows"]) == ("tickets/3", 90, 24)
    assert (begins["new_labels"], begins["gone_labels"], begins["gone_rows"]) == (["repairs"], [], 0)
    assert report["rows"] == 114
    assert report["best_epoch"] in (1, 2)

    unseen = make_tickets(90, seed=7)
    right = {
        name: np.array(classifier.load(each, "cpu").predict(unseen["text"].tolist()).labels) == unseen["label"]
        for name, each in (("before", champion_folders[method]), ("after", folder))
    }
    new, old = unseen["label"] == "repairs", unseen["label"] != "repairs"
    assert right["before"][new].mean() == 0
    assert right["after"][new].mean() > 0.5
    assert right["after"][old].mean() > right["before"][old].mean() - 0.1
    assert right["after"].mean() > right["before"].mean() + 0.1
    again, _ = trained(tmp_path / "two", train, val, params, earlier)
    for file in folder.rglob("*.*"):
        assert file.read_bytes() == (again / file.relative_to(folder)).read_bytes(), file.name


@pytest.mark.parametrize("refit", [True, False])
def test_the_temperature_is_fitted_where_rows_are_left_and_else_that_of_the_champion(
    tmp_path, champion_folders, first_tables, train_config, refit
):
    """With refit every validation row is learned from, so none is left to choose on."""
    earlier = knowing(first_tables[0], folder=champion_folders["full"])
    earlier = replace(earlier, manifest=replace(earlier.manifest, temperature=1.7))
    val = pd.concat([first_tables[1]] * 2, ignore_index=True)
    context = train_context(train_config(method="full", refit=refit), tmp_path, QUIET)
    model = fit(first_tables[0], val, context, earlier)
    assert len(model.validation) == (0 if refit else len(val))
    assert (model.manifest.temperature == 1.7) is refit


def test_the_weights_are_those_of_the_champion_before_the_first_step(champion_folders, first_tables, train_config):
    """Merged or not, with its head: what it says is what the champion said."""
    texts = first_tables[1]["text"].tolist()
    for method in ("lora", "full"):
        network, head = classifier.load_to_train(champion_folders[method], 0.0, 0.0)
        loaded = classifier.load(champion_folders[method], "cpu")
        vectors = classifier.embed(classifier.Encoder(network).eval(), loaded.tokenizer, texts, 32, 16)
        assert torch.allclose(vectors, loaded.embed(texts), atol=1e-5)
        assert torch.equal(head.weight, loaded.head.weight)
        learns = {name for name, value in network.named_parameters() if value.requires_grad}
        assert learns and all(("lora_" in name) == (method == "lora") for name in learns)


def test_val_is_learned_from_where_refit_says_so_and_chooses_only_where_nobody_learned_from_it(
    tmp_path, champion_folders, first_tables, train_config
):
    train, val = first_tables
    three = Incremental(replay_share=0.5, epochs=3, learning_rate_factor=1.0)
    reports = {}
    for name, refit, begins in (
        ("refit", True, EARLIER),
        ("chosen", False, EARLIER),
        ("known", False, replace(EARLIER, refit=True)),
    ):
        old_rows = pd.concat(first_tables) if begins.refit else train
        earlier = knowing(old_rows, begins, champion_folders["full"])
        params = train_config(method="full", refit=refit, incremental=three)
        result = fit(train, val, train_context(params, tmp_path / name, QUIET), earlier)
        scored = ["val_macro_f1" in point for point in result.model.history.points]
        reports[name] = result.report, scored.count(True)
    assert reports["refit"][0]["start"]["new_rows"] == len(val)
    assert (reports["refit"][0]["best_epoch"], reports["refit"][1]) == (3, 0)
    assert reports["chosen"][0]["rows"] == len(train) / 2
    assert reports["chosen"][1] > 0
    assert (reports["known"][0]["best_epoch"], reports["known"][1]) == (3, 0)
    assert reports["known"][0]["start"]["gone_rows"] == 0, "what is in val is not gone"


def test_a_label_that_is_gone_is_no_longer_guessed(
    tmp_path, champion_folders, first_tables, train_config, make_tickets
):
    train = make_tickets(40, 3, ("bills", "repairs"))
    folder, report = trained(
        tmp_path, train, train, train_config(method="full"), knowing(first_tables[0], folder=champion_folders["full"])
    )
    assert report["start"]["gone_labels"] == ["parcels"]
    assert report["start"]["gone_rows"] == len(first_tables[0])
    assert read_classifier(folder).labels == ["bills", "repairs"]
    labels = classifier.load(folder, "cpu").predict(first_tables[1]["text"].tolist()).labels
    assert set(labels) <= {"bills", "repairs"}


@pytest.mark.slow
def test_a_continued_training_that_was_cut_off_goes_on_to_the_same_bits(
    tmp_path, champion_folders, first_tables, train_config, make_tickets
):
    train, val = pd.concat([first_tables[0], make_tickets(40, 5)], ignore_index=True), first_tables[1]
    params = train_config(
        method="full", refit=True, incremental=Incremental(replay_share=0.5, epochs=3, learning_rate_factor=0.5)
    )
    earlier = knowing(first_tables[0], folder=champion_folders["full"])

    def cut(step, of, **_):
        if step >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(train, val, train_context(params, tmp_path / "cut/work", cut), earlier)
    resumed, report = trained(tmp_path / "cut", train, val, params, earlier)
    assert report["resumed_from_step"] > 0
    undisturbed, _ = trained(tmp_path / "undisturbed", train, val, params, earlier)
    for file in undisturbed.rglob("*.safetensors"):
        assert file.read_bytes() == (resumed / file.relative_to(undisturbed)).read_bytes(), file.name


def test_all_learning_rates_are_slowed_alike(train_config):
    params = train_config(incremental=Incremental(replay_share=0.2, epochs=1, learning_rate_factor=0.5))
    slow = parent.slower(params)
    assert slow.full.learning_rate == params.full.learning_rate / 2
    assert slow.lora.learning_rate == params.lora.learning_rate / 2
    assert slow.head_learning_rate == params.head_learning_rate / 2
    assert slow.epochs == params.epochs


@pytest.fixture
def stage_with_champion(
    tmp_path, monkeypatch, settings, first_tables, champion_folders, make_tickets, make_dvc_repository
):
    """A DVC repository whose cache holds a champion of method full, and a start that names it."""
    monkeypatch.chdir(tmp_path)
    dvc_store._repository.cache_clear()
    make_dvc_repository(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    more = make_tickets(30, seed=5)
    row_table.write(pd.concat([first_tables[0], more], ignore_index=True), Path("train.parquet"))
    row_table.write(first_tables[1], Path("val.parquet"))
    row_table.write(more.head(0), Path("general.parquet"))
    for name, side in zip(("train", "val"), first_tables, strict=True):
        row_table.write(side, Path(f"before/{name}.parquet"))
    train, val = (keep(Path(f"before/{name}.parquet").read_bytes()) for name in ("train", "val"))
    folder = champion_folders["full"]
    entries = [
        {"md5": keep(file.read_bytes()), "relpath": file.relative_to(folder).as_posix()}
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    ]
    listing = keep(json.dumps(entries).encode(), ".dir")
    begins = replace(EARLIER, model_md5=listing, train_md5=train, val_md5=val)
    parent_version.write(begins, Path("start.json"))
    return begins


def keep(content, ending=""):
    """Put bytes into DVC's cache."""
    md5 = hashlib.md5(content).hexdigest() + ending
    path = dvc_store.cached(md5)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return md5


READ = ("train.parquet", "val.parquet", "general.parquet", "start.json")


def stage(out):
    main(*map(Path, (*READ, f"{out}/model", f"{out}/reports", f"{out}/work")))
    return json.loads(Path(out, "reports/train.json").read_text())


def test_the_stage_finds_the_champion_by_its_hashes_and_says_that_it_continued(stage_with_champion):
    start = stage("out")["start"]
    assert start | {"new_rows": 30, "old_rows": 10, "new_labels": ["repairs"]} == start
    assert (
        parent_version.ParentVersion(
            name=start["from"],
            **{key: start[key] for key in parent_version.as_dict(stage_with_champion) if key != "from"},
        )
        == stage_with_champion
    )
    assert list(Path("out/work").iterdir()) == [], "the champion's bytes are gone from the scratch folder"
    parent_version.write(None, Path("start.json"))
    assert stage("base")["start"] == {"from": "base"}


@pytest.mark.parametrize("missing", ["model_md5", "train_md5", "a file"])
def test_a_champion_whose_bytes_are_gone_or_damaged_is_refused_and_nothing_is_made(
    stage_with_champion, missing, monkeypatch, capsys
):
    files = dvc_store.listing(stage_with_champion.model_md5)
    path = dvc_store.cached(files["head.safetensors"] if missing == "a file" else getattr(stage_with_champion, missing))
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(Refused, match=r"cannot continue from tickets/3: bytes gone, hashes kept.*dvc pull"):
        stage("out")
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    monkeypatch.setattr(sys, "argv", ["train", *READ, "m", "r", "w"])
    with pytest.raises(SystemExit) as ended:
        stage_io.run(main)
    assert ended.value.code == 1
    assert "damaged" in capsys.readouterr().err
    assert not Path("m").exists()
