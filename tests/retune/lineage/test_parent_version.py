import json
from dataclasses import replace

import pytest
import yaml

from retune.config import params
from retune.config.common import Base
from retune.errors import Refused
from retune.lineage import parent_version
from tests.support.environment import ROOT

EARLIER = parent_version.ParentVersion(
    "tickets/3", "5" * 64, "c" * 40, "f" * 64, "1" * 32 + ".dir", "2" * 32, "3" * 32, True
)


def test_the_shipped_file_starts_from_the_base():
    assert parent_version.parse(b'{"from": "base"}') is None


@pytest.mark.parametrize("begins", [None, EARLIER])
def test_what_was_written_is_read_again(tmp_path, begins):
    parent_version.write(begins, tmp_path / "start.json")
    assert parent_version.read(tmp_path / "start.json") == begins
    assert json.loads((tmp_path / "start.json").read_text())["from"] == (begins.name if begins else "base")


def test_a_start_is_made_from_the_record_of_a_version_and_read_from_that_of_the_next(record):
    begins = parent_version.start_of("tickets/3", "5" * 64, record)
    hashes = record["pipeline"]["hashes"]
    assert begins.model_md5 == hashes["models/candidate"]
    assert (begins.train_md5, begins.val_md5) == tuple(
        record["data"]["sides"][side]["md5"] for side in ("train", "val")
    )
    assert (begins.record_commit, begins.fingerprint) == (record["code"]["record_commit"], record["fingerprint"])
    assert begins.refit is True
    record["training"]["start"] = {**parent_version.as_dict(begins), "new_rows": 4}
    assert parent_version.of_record(record) == begins


def test_a_record_from_before_there_was_a_choice_started_from_the_base(record):
    assert parent_version.of_record(record) is None
    del record["training"]["start"]
    assert parent_version.of_record(record) is None


def test_from_a_record_it_is_known_whether_these_params_can_continue_its_weights(record, settings):
    section = params.parse(settings).train
    facts = parent_version.weights_facts(record)
    mine = replace(section, base=Base(record["base"]["name"], record["base"]["sha256"]))
    assert parent_version.incompatibilities(facts, mine) == []
    assert parent_version.incompatibilities(facts, replace(mine, method="lora")) == [
        "train.method is 'lora', its own was 'full'"
    ]
    assert len(parent_version.incompatibilities(facts, section)) == 2, "another base by name and hash"
    lora = replace(mine, method="lora", lora=replace(mine.lora, rank=4))
    assert parent_version.incompatibilities({**facts, "method": "lora"}, lora) == [
        "train.lora.rank is 4, its own was 16"
    ]
    assert parent_version.incompatibilities(facts, replace(mine, lora=lora.lora)) == [], "full has no adapter"
    assert (
        "fitted anew"
        in parent_version.incompatibilities({**facts, "method": "probe"}, replace(mine, method="probe"))[0]
    )


def test_training_reads_the_val_side_of_a_version_only_if_that_learned_from_it():
    assert set(EARLIER.needed()) == {parent_version.MODEL, parent_version.TRAIN, parent_version.VAL}
    assert set(replace(EARLIER, refit=False).needed()) == {parent_version.MODEL, parent_version.TRAIN}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Expecting value"),
        (b"\xff", "utf-8"),
        (b"[" * 100_000, "recursion"),
        (b'"base"', "it is 'base'"),
        (b'{"from": "base", "seal": "5"}', "it has from, seal"),
        (b'{"from": "tickets/3"}', "it has from"),
        (json.dumps({**parent_version.as_dict(EARLIER), "from": "tickets"}).encode(), "from is 'tickets'"),
        (json.dumps({**parent_version.as_dict(EARLIER), "model_md5": "1" * 32}).encode(), "model_md5 is '1"),
        (json.dumps({**parent_version.as_dict(EARLIER), "train_md5": "../" + "1" * 29}).encode(), "train_md5 is"),
        (json.dumps({**parent_version.as_dict(EARLIER), "seal": 5}).encode(), "seal is 5"),
        (json.dumps({**parent_version.as_dict(EARLIER), "refit": 1}).encode(), "refit is 1"),
        (
            json.dumps({**parent_version.as_dict(EARLIER), "more": 1}).encode(),
            "it has fingerprint, from, model_md5, more",
        ),
    ],
)
def test_a_file_that_no_retune_has_written_is_refused_in_words_and_never_taken_for_the_base(content, why):
    with pytest.raises(Refused, match=r"models/start\.json says no start: .*write \{\"from\": \"base\"\}") as refused:
        parent_version.parse(content)
    assert why in str(refused.value)


def test_a_file_that_is_missing_is_refused(tmp_path):
    with pytest.raises(Refused, match="nobody knows where to start"):
        parent_version.read(tmp_path / "start.json")


@pytest.fixture
def writing_record(record):
    """The record of a model that writes, its method LoRA."""
    shipped = yaml.safe_load((ROOT / "retune/config/defaults/instruct.yaml").read_text("utf-8"))
    record["params"] = shipped | {"split": {**shipped["split"], "seed": 5}}
    record["training"]["method"] = "lora"
    return record


def test_preferences_are_learned_with_what_their_version_was_made_with(writing_record):
    params = parent_version.params_from_parent(writing_record, "prefer", "lora")
    values = writing_record["params"]
    assert params["train.base.sha256"] == values["train"]["base"]["sha256"]
    assert params["train.lora.rank"] == values["train"]["lora"]["rank"], "its adapter is gone on with"
    assert params["split.seed"] == 5, "so that a customer whom it learned from is not tested on"
    assert params["register.name"] == values["register"]["name"]
    assert params["train.lora.learning_rate"] == pytest.approx(values["train"]["lora"]["learning_rate"] / 10)
    assert None not in params.values()


def test_on_a_whole_network_a_new_adapter_learns_as_one_likes(writing_record):
    params = parent_version.params_from_parent(writing_record, "prefer", "full")
    assert not [name for name in params if name.startswith("train.lora")] and "train.method" not in params


def test_a_version_that_is_no_start_for_preferences_is_refused(record, writing_record):
    with pytest.raises(Refused, match="task instruct, its method ia3; prefer goes on from one of task instruct, its"):
        parent_version.params_from_parent(writing_record, "prefer", "ia3")
    with pytest.raises(Refused, match=r"task instruct, its method prompt; instruct goes on from .* instruct or prefer"):
        parent_version.params_from_parent(writing_record, "instruct", "prompt")
    record["params"] = {}  # from before there was a choice of task
    with pytest.raises(Refused, match="task classify"):
        parent_version.params_from_parent(record, "instruct", "lora")


def test_instructions_go_on_with_the_method_that_made_the_weights(writing_record):
    params = parent_version.params_from_parent(writing_record, "instruct", "lora")
    assert params["train.method"] == "lora"
    assert params["train.lora.learning_rate"] == writing_record["params"]["train"]["lora"]["learning_rate"]
    shipped = yaml.safe_load((ROOT / "retune/config/defaults/prefer.yaml").read_text("utf-8"))
    writing_record["params"], writing_record["training"]["method"] = shipped, "dpo"
    params = parent_version.params_from_parent(writing_record, "instruct", "lora")
    assert (params["train.method"], params["train.lora.rank"]) == ("lora", shipped["train"]["lora"]["rank"])
    with pytest.raises(Refused, match="task prefer"):
        parent_version.params_from_parent(writing_record, "prefer", "lora")
