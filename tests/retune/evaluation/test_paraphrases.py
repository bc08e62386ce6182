import hashlib

import pytest

from retune.config.evaluation import Paraphrases
from retune.errors import Refused, WrongUse
from retune.evaluation import paraphrases


def named(folder, text, name="others.csv", sha256=None):
    (folder / "others.csv").write_text(text, "utf-8")
    return Paraphrases(str(folder / name), sha256 or hashlib.sha256(text.encode()).hexdigest())


def test_rows_are_named_by_id_or_by_text_and_empty_paraphrases_are_none(tmp_path):
    assert paraphrases.read(named(tmp_path, "id,paraphrase\nr1,other words\nr2, \n")) == {"r1": "other words"}
    assert paraphrases.read(named(tmp_path, "text,paraphrase\nsome words,others\n")) == {"some words": "others"}


def test_another_file_than_the_one_named_is_refused(tmp_path):
    with pytest.raises(WrongUse, match=r"and evaluate\.robustness\.paraphrases\.sha256 is 0000"):
        paraphrases.read(named(tmp_path, "id,paraphrase\nr1,x\n", sha256="0" * 64))
    with pytest.raises(WrongUse, match="cannot be read"):
        paraphrases.read(named(tmp_path, "", "gone.csv"))
    with pytest.raises(Refused, match="must have the columns"):
        paraphrases.read(named(tmp_path, "name\nr1\n"))
