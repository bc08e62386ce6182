import shutil

import pytest
import torch

from retune.errors import Broken
from tasks.train.checkpoint import KEEP, Checkpoints, exclusive

FILES = ["tensors.safetensors", "state.json", "sha256"]
TENSORS = {"weight": torch.arange(6.0).reshape(2, 3)}


def filled(folder, *steps):
    checkpoints = Checkpoints(folder)
    for step in steps:
        checkpoints.save(
            step, {name: value + step for name, value in TENSORS.items()}, {"step": step, "loss": 0.1 + 0.2}
        )
    return checkpoints


def test_what_was_saved_comes_back_to_the_bit(tmp_path):
    tensors, state = filled(tmp_path, 3).newest()
    assert torch.equal(tensors["weight"], TENSORS["weight"] + 3)
    assert (state["step"], state["loss"]) == (3, 0.1 + 0.2)


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert Checkpoints(tmp_path / "none").newest() is None


def test_the_newest_is_found_and_the_oldest_go(tmp_path):
    checkpoints = filled(tmp_path, 9, 10, 100)
    assert checkpoints.newest()[1]["step"] == 100
    assert len(list(tmp_path.iterdir())) == KEEP


def test_one_step_saved_twice_is_one_checkpoint(tmp_path):
    assert filled(tmp_path, 5, 5).newest()[1]["step"] == 5
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_with_any_damage_is_left_out_for_the_one_before_it(tmp_path, name, capsys):
    good = filled(tmp_path / "good", 1, 2).folder
    whole = (good / "step-00000002" / name).read_bytes()
    for place in range(0, len(whole), 7):
        damaged = shutil.copytree(good, tmp_path / "damaged", dirs_exist_ok=True)
        changed = bytes([whole[place] ^ 1])
        (damaged / "step-00000002" / name).write_bytes(whole[:place] + changed + whole[place + 1 :])
        newest = Checkpoints(damaged).newest()
        assert newest is not None
        assert newest[1]["step"] == 1, f"byte {place} of {name}, {whole[place : place + 1]!r}, may change"
        assert "damaged" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}", b"\x00" * 40])
@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_that_holds_something_else_is_left_out(tmp_path, name, content):
    checkpoints = filled(tmp_path, 1, 2)
    (tmp_path / "step-00000002" / name).write_bytes(content)
    assert checkpoints.newest()[1]["step"] == 1
    assert not (tmp_path / "step-00000002").exists()


@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_without_one_of_its_files_is_left_out(tmp_path, name):
    checkpoints = filled(tmp_path, 1, 2)
    (tmp_path / "step-00000002" / name).unlink()
    assert checkpoints.newest()[1]["step"] == 1


def test_an_unfinished_checkpoint_is_not_taken(tmp_path):
    checkpoints = filled(tmp_path, 1, 2)
    (tmp_path / "step-00000002").rename(tmp_path / ".step-00000002")
    assert checkpoints.newest()[1]["step"] == 1
    assert not (tmp_path / ".step-00000002").exists()


def test_two_trainers_of_one_model_are_one_too_many(tmp_path):
    with exclusive(tmp_path / "work"), pytest.raises(Broken, match="another trainer"), exclusive(tmp_path / "work"):
        pass
    with exclusive(tmp_path / "work"):
        pass


def test_trainers_of_two_models_do_not_wait_for_each_other(tmp_path):
    with exclusive(tmp_path / "one"), exclusive(tmp_path / "other"):
        pass
