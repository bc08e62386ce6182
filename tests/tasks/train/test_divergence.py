import math

import pytest
import torch

from tasks.train import __main__ as train
from tasks.train.divergence import Diverged, StepWatch

RATES = ("train.full.learning_rate", "train.head_learning_rate")


def watch_of(*losses, norm=1.0):
    watch = StepWatch(RATES, total=9)
    for step, loss in enumerate(losses, 1):
        watch.add(step, 3e-2, {"train_loss": loss}, torch.tensor(norm))
    return watch


@pytest.mark.parametrize("broken", [math.nan, math.inf, torch.tensor(math.nan)])
def test_a_loss_that_is_not_finite_ends_training_at_its_step(broken):
    with pytest.raises(
        Diverged, match=r"train_loss is (nan|inf) at step 3 of 9, with a learning rate of 0.03: lower "
    ) as e:
        watch_of(1.0, 0.9, broken)
    assert e.value.remedy == "lower train.full.learning_rate or train.head_learning_rate"
    assert e.value.exit_code == 1


def test_gradients_that_are_not_finite_end_training_too():
    with pytest.raises(Diverged, match="gradient_norm is inf at step 1 of 9"):
        watch_of(1.0, norm=math.inf)


def test_before_the_first_update_the_base_may_be_to_blame():
    with pytest.raises(Diverged, match=r"check the base's weights, and write train\.precision: fp32"):
        watch_of(math.nan)


def test_steps_of_a_gpu_are_asked_about_together_and_the_first_broken_one_is_named():
    watch = watch_of(1.0)
    for step, loss in [(2, 0.9), (3, math.nan), (4, math.nan)]:
        watch.pending.append((step, 1e-3, {"train_loss": torch.tensor(loss)}))
    with pytest.raises(Diverged, match="at step 3 of 9"):
        watch.check()
    watch.check()  # each step is asked about once


def test_no_checkpoint_of_a_training_that_diverged_stays(tmp_path):
    with pytest.raises(Diverged), train._folder(tmp_path / "run") as folder:
        (folder / "choose" / "step-00000004").mkdir(parents=True)
        raise Diverged("training diverged")
    assert not (tmp_path / "run").exists()


def test_checkpoints_of_a_training_that_broke_in_another_way_stay(tmp_path):
    with pytest.raises(KeyboardInterrupt), train._folder(tmp_path / "run") as folder:
        (folder / "choose" / "step-00000004").mkdir(parents=True)
        raise KeyboardInterrupt
    assert (tmp_path / "run" / "choose" / "step-00000004").exists()
