from pathlib import Path

import pytest
import yaml

from retune.config import params, renames
from retune.errors import WrongUse

FILES = [Path("params.yaml"), *sorted(Path("retune/config/defaults").glob("*.yaml"))]


def test_every_new_name_is_a_parameter_of_a_task_and_no_old_one_is():
    paths = set()
    for file in FILES:
        values = yaml.safe_load(file.read_text("utf-8"))
        paths |= set(params.flat(values)) | set(values)
        paths |= {f"{name}.{key}" for name, section in values.items() if isinstance(section, dict) for key in section}
    assert set(renames.KEYS.values()) <= paths
    assert not set(renames.KEYS) & paths


def test_old_names_get_new_ones_and_everything_else_stays_in_its_order():
    old = {"task": "classify", "decide": {"new_rows": 3}, "promote": {"metric": "macro_f1", "difference": 0.02}}
    new = {
        "task": "classify",
        "trigger": {"new_rows": 3},
        "promote": {"metric": "macro_f1", "min_detectable_gain": 0.02},
    }
    assert renames.upgrade(old) == new
    assert list(renames.upgrade(old)) == list(new)
    assert "decide" in old, "the argument stays as it is"
    assert renames.upgrade(new) == new


def test_a_key_below_an_old_section_and_a_word_of_a_list_are_renamed_too():
    values = {"train": {"lora": {"frozen": "fp8"}}, "notify": {"events": ["failed", "silent"]}}
    expected = {"train": {"lora": {"base_precision": "fp8"}}, "notify": {"events": ["failed", "unhealthy"]}}
    assert renames.upgrade(values) == expected
    assert renames.current_name("decide.new_rows") == "trigger.new_rows"
    assert renames.current_name("decided.new_rows") is None


def test_a_value_that_has_both_names_keeps_both_so_that_neither_is_lost():
    both = {"decide": {"new_rows": 1}, "trigger": {"new_rows": 2}}
    assert renames.upgrade(both) == both


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_files_of_today_have_no_old_name(file):
    values = yaml.safe_load(file.read_text("utf-8"))
    assert renames.outdated(values) == []
    assert renames.upgrade(values) == values


@pytest.mark.parametrize("values", [None, [], "decide", {"decide": None}, {"train": None}, {"notify": {"events": 3}}])
def test_values_of_any_shape_are_read(values):
    renames.outdated(values), renames.upgrade(values)


def test_a_file_with_old_names_is_refused_with_the_new_ones_and_what_to_do(tmp_path):
    text = Path("params.yaml").read_text("utf-8").replace("\ntrigger:", "\ndecide:").replace("unhealthy", "silent")
    file = tmp_path / "params.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(WrongUse) as refused:
        params.load(file)
    assert "`decide` is now called `trigger`" in str(refused.value)
    assert "`notify.events: silent` is now called `unhealthy`" in str(refused.value)
    assert "run `retune params migrate`" in str(refused.value)


def test_messages_are_sent_also_where_the_file_still_has_old_names(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(Path("params.yaml").read_text("utf-8").replace("unhealthy", "silent"), "utf-8")
    assert "unhealthy" in params.load_notify(file).events
