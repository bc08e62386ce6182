import hashlib

import numpy as np
import pytest

from retune.config.classification import OutOfScope
from retune.errors import Refused, WrongUse
from retune.evaluation import out_of_scope


@pytest.fixture
def file_of(tmp_path, monkeypatch):
    """The section that names a file of these bytes, by its hash."""
    monkeypatch.chdir(tmp_path)

    def section(content):
        (tmp_path / "others.csv").write_bytes(content)
        return OutOfScope(path="others.csv", sha256=hashlib.sha256(content).hexdigest())

    return section


def test_the_texts_of_the_file_are_read_and_blank_ones_left_out(file_of):
    config = file_of('id,text\n1,"Hello, world"\n2, \n3,Grüße\n'.encode())
    assert out_of_scope.read(config) == ["Hello, world", "Grüße"]
    assert out_of_scope.read(OutOfScope(path="", sha256="")) == []


def test_another_file_than_params_name_is_refused_with_its_hash(file_of, tmp_path):
    config = file_of(b"text\nhello\n")
    (tmp_path / "others.csv").write_bytes(b"text\nhello\nworld\n")
    with pytest.raises(WrongUse, match=r"has sha256 [0-9a-f]{64}, and evaluate\.automation\.out_of_scope\.sha256"):
        out_of_scope.read(config)
    (tmp_path / "others.csv").unlink()
    with pytest.raises(WrongUse, match=r"'others\.csv', which cannot be read: No such file"):
        out_of_scope.read(config)


@pytest.mark.parametrize("content", [b"", b"text\n", b"body\nhello\n", b'text\n"\xff"\n', b'text\n"a" b\n'])
def test_a_file_without_a_column_of_texts_is_refused_in_words(file_of, content):
    with pytest.raises(Refused, match=r"evaluate\.automation\.out_of_scope\.path"):
        out_of_scope.read(file_of(content))


def test_the_auroc_is_the_share_of_pairs_in_the_right_order_and_ties_are_halves():
    draw = np.random.default_rng(1)
    inside, outside = draw.integers(0, 9, 40) / 9 + 0.2, draw.integers(0, 9, 30) / 9
    pairs = np.subtract.outer(inside, outside)
    assert out_of_scope.auroc(inside, outside) == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)))
    assert out_of_scope.auroc(np.array([0.5]), np.array([0.5])) == 0.5
