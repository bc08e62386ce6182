import copy
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.models import classifier
from tasks.train.checkpoint import Checkpoints
from tasks.train.context import train_context
from tasks.train.divergence import Diverged
from tasks.train.encoder.objective import Round, Rows, batches, fine_tune
from tasks.train.loop import rate_factor

QUIET = lambda *_, **__: None  # noqa: E731
DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")))


def some_rows(count=24, labels=3, seed=5):
    draw = random.Random(seed)
    tokens = [[2, *draw.choices(range(5, 30), k=draw.randint(1, 9)), 3] for _ in range(count)]
    return Rows(tokens, [number % labels for number in range(count)])


@pytest.fixture
def untrained_model(train_config):
    """A fresh encoder and head, the same ones at each call."""

    def make(dropout):
        base = train_config().base
        _, network = classifier.load_base(base.name, base.sha256, dropout)
        torch.manual_seed(1)
        return classifier.Encoder(network), torch.nn.Linear(32, 3)

    return make


def trained(untrained_model, params, folder, train, val=None, weights=None, epochs=1, on_progress=QUIET):
    encoder, head = untrained_model(params.dropout)
    data = Round(train, val, epochs, 0, weights)
    curve = fine_tune(encoder, head, data, train_context(params, folder, on_progress))
    return curve, {f"encoder.{name}": value for name, value in encoder.state_dict().items()} | head.state_dict()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=300), st.integers(1, 9), st.integers(0, 2**32))
def test_every_row_is_in_exactly_one_batch(lengths, size, seed):
    tokens = [[0] * length for length in lengths]
    row_batches = batches(tokens, size, seed)
    assert sorted(row for group in row_batches for row in group) == list(range(len(lengths)))
    assert all(1 <= len(group) <= size for group in row_batches)
    assert sum(len(group) < size for group in row_batches) <= 1 or len(lengths) > 50 * size
    assert row_batches == batches(tokens, size, seed)


def test_batches_differ_from_epoch_to_epoch():
    tokens = some_rows(100).tokens
    assert batches(tokens, 8, seed=1) != batches(tokens, 8, seed=2)


def test_a_batch_holds_texts_of_like_length():
    tokens = [[0] * length for length in random.Random(1).choices(range(1, 60), k=400)]
    padded = sum(max(len(tokens[row]) for row in group) * len(group) for group in batches(tokens, 8, seed=1))
    assert padded < 1.1 * sum(map(len, tokens))


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 1.0, 3.0])], ids=["plain", "weighted"])
def test_batches_accumulated_to_one_step_equal_the_one_big_batch(untrained_model, train_config, tmp_path, weights):
    """AdamW's first moment after one step is the clipped gradient by a constant: it shows what was learned from."""
    rows, moments, losses = some_rows(24), [], []
    for size, accumulate in ((24, 1), (5, 5), (1, 24)):
        params = train_config(batch_size=size, accumulate=accumulate, max_grad_norm=1e9, dropout=0.0)
        checkpoints = tmp_path / str(size)
        trained(
            untrained_model, params, checkpoints, rows, weights=weights, on_progress=lambda *_, **v: losses.append(v)
        )
        tensors, state = Checkpoints(checkpoints).newest()
        assert state["step"] == 1
        moments.append({name: value for name, value in tensors.items() if name.startswith("exp_avg.")})
    assert max(value.abs().max() for value in moments[0].values()) > 1e-3
    for other in moments[1:]:
        assert other.keys() == moments[0].keys()
        for name, value in moments[0].items():
            assert torch.allclose(value, other[name], atol=1e-5, rtol=0), name
    assert losses[1]["train_loss"] == pytest.approx(losses[0]["train_loss"], abs=1e-5)


def test_the_best_epoch_is_kept_and_training_stops_when_none_is_better(untrained_model, train_config, tmp_path):
    """Labels of validation contradict those of training, so learning only makes it worse."""
    train = some_rows(24)
    val = Rows(train.tokens, [(label + 1) % 3 for label in train.label_ids])
    params = train_config(full=type(train_config().full)(learning_rate=3e-3), patience=2, head_learning_rate=0.05)
    curve, weights = trained(untrained_model, params, tmp_path / "long", train, val, epochs=30)
    scores = [point["val_macro_f1"] for point in curve.points if "val_macro_f1" in point]
    best = scores.index(max(scores)) + 1
    assert curve.best_epoch == best
    assert len(scores) == best + 2 < 30
    tensors, _ = Checkpoints(tmp_path / "long").newest()
    last = {name.removeprefix("now."): value for name, value in tensors.items() if name.startswith("now.")}
    assert not torch.equal(weights["weight"], last["head.weight"]), "the last epoch was kept"
    assert torch.equal(weights["weight"], tensors["best.head.weight"])


def test_an_interrupted_run_that_had_run_out_of_patience_does_not_go_on(untrained_model, train_config, tmp_path):
    train = some_rows(24)
    val = Rows(train.tokens, [(label + 1) % 3 for label in train.label_ids])
    params = train_config(full=type(train_config().full)(learning_rate=3e-3), patience=1, head_learning_rate=0.05)
    first, weights = trained(untrained_model, params, tmp_path / "a", train, val, epochs=30)
    again, same = trained(untrained_model, params, tmp_path / "a", train, val, epochs=30)
    assert again.points == first.points
    assert all(torch.equal(value, same[name]) for name, value in weights.items())


@pytest.mark.parametrize("device", DEVICES)
def test_training_that_diverges_stops_there_and_saves_no_checkpoint_of_it(
    untrained_model, train_config, tmp_path, device
):
    full = type(train_config().full)(learning_rate=1e30)
    params = train_config(full=full, batch_size=4, checkpoint_seconds=0.0, device=device)
    logged_steps = []
    with pytest.raises(Diverged, match=r"at step 2 of 6, .*: lower train\.full\.learning_rate"):
        trained(
            untrained_model,
            params,
            tmp_path,
            some_rows(24),
            on_progress=lambda step, _, **values: logged_steps.append(step),
        )
    assert logged_steps == [1]
    assert max(Checkpoints(tmp_path).steps(), default=0) <= 1


@pytest.mark.parametrize("device", DEVICES)
def test_scores_that_are_not_finite_stop_training(untrained_model, train_config, tmp_path, device):
    """A whole epoch in one step: only validation sees what its update did."""
    full = type(train_config().full)(learning_rate=1e30)
    params = train_config(full=full, batch_size=24, accumulate=1, device=device)
    with pytest.raises(Diverged, match="val_loss is nan at step 1 of 1"):
        trained(untrained_model, params, tmp_path, some_rows(24), some_rows(6))
    assert Checkpoints(tmp_path).steps() == []


@pytest.mark.parametrize("stop", [1, *(pytest.param(stop, marks=pytest.mark.slow) for stop in (3, 4, 7)), 11])
def test_a_run_interrupted_at_any_step_ends_with_the_same_bits(untrained_model, train_config, tmp_path, stop):
    train, val = some_rows(30), some_rows(12, seed=6)
    params = train_config(batch_size=4, accumulate=2, checkpoint_seconds=0.0, dropout=0.1)  # 4 steps an epoch
    whole, weights = trained(untrained_model, params, tmp_path / "whole", train, val, epochs=3)

    def interrupt_at_stop(step, of, **values):
        if step >= stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(untrained_model, params, tmp_path / "cut", train, val, epochs=3, on_progress=interrupt_at_stop)
    resumed, same = trained(untrained_model, params, tmp_path / "cut", train, val, epochs=3)
    assert resumed.points == whole.points
    assert (resumed.best_epoch, resumed.best_score) == (whole.best_epoch, whole.best_score)
    assert all(torch.equal(value, same[name]) for name, value in weights.items())


def test_the_seed_changes_the_result(untrained_model, train_config, tmp_path):
    _, one = trained(untrained_model, train_config(seed=1), tmp_path / "1", some_rows())
    _, other = trained(untrained_model, train_config(seed=2), tmp_path / "2", some_rows())
    assert not torch.equal(one["weight"], other["weight"])


def test_a_label_of_weight_0_teaches_nothing(untrained_model, train_config, tmp_path):
    rows = some_rows(24)
    params = train_config(batch_size=24, dropout=0.0)
    mute = torch.tensor([1.0, 1.0, 0.0])
    wrong = Rows(rows.tokens, rows.label_ids)
    only = [number for number, label in enumerate(rows.label_ids) if label != 2]
    less = Rows([rows.tokens[number] for number in only], [rows.label_ids[number] for number in only])
    losses = []
    for side, weights in ((wrong, mute), (less, None)):
        trained(
            untrained_model,
            params,
            tmp_path / str(len(losses)),
            side,
            weights=weights,
            on_progress=lambda *_, **values: losses.append(values["train_loss"]),
        )
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_the_rate_warms_up_in_a_line_and_then_falls_to_almost_nothing():
    linear = [rate_factor(step, 100, 0.1, "linear") for step in range(100)]
    assert linear[0] == pytest.approx(0.1)
    assert linear[9] == 1.0
    assert linear[10] == 1.0
    assert linear[:10] == sorted(linear[:10])
    assert linear[10:] == sorted(linear[10:], reverse=True)
    assert linear[55] == pytest.approx(0.5)
    assert linear[99] == pytest.approx(1 / 90)


def test_the_other_schedules():
    cosine = [rate_factor(step, 100, 0.0, "cosine") for step in range(100)]
    assert cosine[0] == 1.0
    assert cosine[50] == pytest.approx(0.5)
    assert cosine == sorted(cosine, reverse=True)
    assert {rate_factor(step, 100, 0.2, "constant") for step in range(20, 100)} == {1.0}
    assert rate_factor(0, 1, 0.0, "linear") == 1.0


def test_inputs_of_training_are_left_as_they_were(untrained_model, train_config, tmp_path):
    rows = some_rows()
    before = copy.deepcopy(rows)
    trained(untrained_model, train_config(), tmp_path, rows)
    assert rows == before
