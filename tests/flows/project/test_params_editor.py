import re

import pytest
import yaml

from flows.project import params_editor
from retune.errors import WrongUse
from tests.support.environment import ROOT


@pytest.fixture
def params_file(tmp_path):
    params_file = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text("utf-8")
    params_file.write_text(re.sub(r"( refit:) \w+", r"\1 false", text), "utf-8")  # so that `true` is a change
    return params_file


def value(params_file, name):
    values = yaml.safe_load(params_file.read_text("utf-8"))
    for key in name.split("."):
        values = values[key]
    return values


def line_of(text, name):
    """The number of the line that holds `section.key`, found without a YAML reader that could err alike."""
    lines, start = text.splitlines(), 0
    for depth, key in enumerate(name.split(".")):
        mark = "  " * depth + key + ":"
        start = next(number for number in range(start, len(lines)) if lines[number].startswith(mark))
    return start


@pytest.mark.parametrize(
    ("setting", "name", "expected"),
    [
        ("train.epochs=50", "train.epochs", 50),
        ("train.full.learning_rate=2e-5", "train.full.learning_rate", 2e-5),
        ("train.full.learning_rate=3.5E-05", "train.full.learning_rate", 3.5e-5),
        ("train.lora.learning_rate=0.00025", "train.lora.learning_rate", 0.00025),
        ("train.probe.c=1e3", "train.probe.c", 1000.0),
        ("train.refit=true", "train.refit", True),
        ("train.method=lora", "train.method", "lora"),
        ("train.base.name=folder:/srv/a base/x:y", "train.base.name", "folder:/srv/a base/x:y"),
        ("validate.labels=[yes please, 'no: thanks', \"ünï\"]", "validate.labels", ["yes please", "no: thanks", "ünï"]),
        ("split.missing_label.train=warn", "split.missing_label.train", "warn"),
        ("register.name=queue-2024-v1", "register.name", "queue-2024-v1"),
        ('register.name="2024"', "register.name", "2024"),
        (" train.seed = 23", "train.seed", 23),
    ],
)
def test_a_value_is_written_and_only_its_line_changes(params_file, setting, name, expected):
    before = params_file.read_text("utf-8")
    params_editor.write([setting], params_file)
    after = params_file.read_text("utf-8")
    values = value(params_file, name)
    assert (values, type(values)) == (expected, type(expected))
    number = line_of(before, name)
    changed = [
        n for n, (old, new) in enumerate(zip(before.splitlines(), after.splitlines(), strict=True)) if old != new
    ]
    assert changed == [number]
    assert after.endswith("\n") and len(after.splitlines()) == len(before.splitlines())


def test_the_comment_on_the_line_stays(params_file):
    assert "# usual: 1.0e-5 to 1.0e-4" in params_file.read_text("utf-8")
    params_editor.write(["train.full.learning_rate=2e-5", "validate.labels=[a, b]"], params_file)
    text = params_file.read_text("utf-8")
    assert "  # usual: 1.0e-5 to 1.0e-4\n" in text
    assert "# the only labels that are allowed; empty: those of the data\n" in text


def test_the_value_that_stands_there_already_changes_no_byte(params_file):
    before = params_file.read_bytes()
    params_editor.write([f"train.epochs={value(params_file, 'train.epochs')}"], params_file)
    assert params_file.read_bytes() == before


def test_no_setting_writes_nothing(params_file):
    before = params_file.read_bytes()
    params_editor.write([], params_file)
    assert params_file.read_bytes() == before


def test_the_last_of_two_settings_wins(params_file):
    params_editor.write(["train.epochs=7", "train.epochs=9"], params_file)
    assert value(params_file, "train.epochs") == 9


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.epohs=5", "did you mean train.epochs"),
        ("trian.epochs=5", "did you mean train.epochs"),
        ("train.lora.rnak=8", "did you mean train.lora.rank"),
        ("zork=5", "params.yaml has no value zork"),
        ("train=5", "params.yaml has no value train"),
        ("train.lora=5", "params.yaml has no value train.lora"),
        ("train.epochs.more=5", "params.yaml has no value train.epochs.more"),
        ("train.epochs", "section.key=value"),
        ("=5", "params.yaml has no value"),
        ("train.epochs=[", "not a YAML value"),
        ("train.epochs=five", "train.epochs is 'five'"),
        ("train.epochs=5.5", "train.epochs is 5.5"),
        ("train.epochs=0", "train.epochs is 0"),
        ("train.epochs=", "train.epochs is None"),
        ("train.epochs=true", "train.epochs is True"),
        ("train.method=magic", "train.method is 'magic'"),
        ("train.dropout=high", "train.dropout is 'high'"),
        ("train.refit=1", "train.refit is 1"),
        ("validate.labels=a", "validate.labels is 'a'"),
        ("validate.labels=[1]", "validate.labels.0 is 1"),
        ("register.name=12", "register.name is 12"),
        ("register.name=a b", "register.name is 'a b'"),
        ("train.probe.c=.inf", "not a finite number"),
        ("train.probe.c=.nan", "not a finite number"),
        ("train.probe.c=1e999", "not a finite number"),
    ],
)
def test_a_wrong_setting_is_refused_in_words_and_the_file_is_untouched(params_file, setting, message):
    before = params_file.read_bytes()
    with pytest.raises(WrongUse) as raised:
        params_editor.write(["train.seed=99", setting], params_file)
    assert message in str(raised.value)
    assert params_file.read_bytes() == before
    assert [file.name for file in params_file.parent.iterdir()] == ["params.yaml"]


def test_a_file_that_is_wrong_already_is_refused_without_a_setting(params_file):
    params_file.write_text(params_file.read_text("utf-8").replace("epochs: ", "epochen: "), "utf-8")
    with pytest.raises(WrongUse, match=r"train\.epochen is not a parameter"):
        params_editor.write([], params_file)


def test_a_missing_key_can_not_be_set_but_is_named(params_file):
    remaining = [line for line in params_file.read_text("utf-8").splitlines() if not line.strip().startswith("epochs:")]
    params_file.write_text("\n".join(remaining) + "\n", "utf-8")
    with pytest.raises(WrongUse, match=r"train\.epochs"):
        params_editor.write(["train.epochs=3"], params_file)


@pytest.mark.parametrize("text", ["", "just words\n", "a: [\n", "- 1\n"])
def test_a_file_that_is_no_params_file_is_refused_in_words(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(WrongUse):
        params_editor.write(["train.epochs=3"], path)
    assert path.read_text("utf-8") == text


def test_a_parameter_that_is_a_mapping_can_be_set_and_a_section_cannot(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes((ROOT / "params.yaml").read_bytes())
    params_editor.write(["curate.merge_labels={Spam.: spam}"], path)
    assert value(path, "curate.merge_labels") == {"Spam.": "spam"}
    with pytest.raises(WrongUse, match="has no value curate"):
        params_editor.write(["curate={}"], path)
