import pytest

from retune.config import params, reference
from retune.errors import WrongUse


@pytest.mark.parametrize("task", params.TASKS)
def test_every_parameter_of_a_task_is_there_with_what_it_means(task):
    parameters = {each.path: each for each in reference.parameters(task)}
    assert set(params.paths(params.TASKS[task])) <= set(parameters)
    assert all(each.description and each.type for each in parameters.values())


def test_a_parameter_says_its_type_what_is_allowed_and_what_is_usual():
    epochs = reference.parameter("classify", "train.epochs")
    assert (epochs.type, epochs.allowed, epochs.usual) == ("integer", "at least 1", "1 to 10")
    assert reference.parameter("prefer", "train.method").allowed == "dpo, kto"
    assert reference.parameter("classify", "split.val_share").allowed == "above 0, below 0.5"
    assert reference.parameter("classify", "train.lora").type == "section"
    assert reference.parameter("instruct", "evaluate.judge.key_env").type == "string or null"


def test_a_parameter_of_a_list_is_found_with_and_without_its_mark():
    assert reference.parameter("classify", "fetch.sources.query") == reference.parameter(
        "classify", "fetch.sources[].query"
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("train.epohs", r"train\.epohs is not a parameter of task classify; did you mean train\.epochs\?"),
        ("decide.new_rows", r"`decide\.new_rows` is now called `trigger\.new_rows`"),
        ("train.beta", "is not a parameter of task classify"),
        ("", " is not a parameter"),
    ],
)
def test_a_wrong_name_is_refused_with_a_close_one(path, message):
    with pytest.raises(WrongUse, match=message):
        reference.parameter("classify", path)


def test_the_schema_of_editors_knows_each_task_and_refuses_unknown_keys():
    schema = reference.schema()
    assert {"Classify", "Instruct", "Prefer"} <= set(schema["$defs"])
    assert schema["$defs"]["Classify"]["additionalProperties"] is False
