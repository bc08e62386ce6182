import numpy as np
import pytest
import torch

from retune.config.classification import Probe
from retune.errors import Refused
from retune.evaluation import sufficiency
from retune.evaluation.sufficiency import Gain, Measurement

SIZES = np.array([100.0, 200, 300, 400, 600, 800])


def law(a, b, c, sizes=SIZES):
    return a + b * sizes**-c


@pytest.mark.parametrize(("a", "b", "c"), [(0.05, 2.0, 0.5), (0.0, 1.0, 0.3), (0.1, 20.0, 1.0)])
def test_the_law_that_made_the_errors_is_recovered(a, b, c):
    rate = sufficiency.fit_rate(SIZES, law(a, b, c))
    assert rate == pytest.approx(c)
    fitted_a, fitted_b = sufficiency.fit(SIZES, law(a, b, c), np.array([rate]))
    assert (fitted_a[0], fitted_b[0]) == (pytest.approx(a, abs=1e-6), pytest.approx(b, rel=1e-4))


def test_an_error_that_grows_with_the_rows_is_forecast_to_stay():
    a, b = sufficiency.fit(SIZES, np.linspace(0.1, 0.2, 6), np.array([0.5]))
    assert b[0] == 0 and 0.1 < a[0] < 0.2


def measured(of_labels, folds=8, rows=50_000, seed=0):
    """Folds in which each label has errors by its law, drawn."""
    errors = np.stack([law(*each) for each in of_labels], axis=1)
    draw = np.random.default_rng(seed)
    wrong = draw.binomial(rows, errors[None], size=(folds, *errors.shape))
    return Measurement(SIZES, wrong.astype(float), np.full((folds, len(of_labels)), float(rows)))


def test_the_forecast_continues_the_law_of_all_rows():
    forecast = sufficiency.forecast(measured([(0.05, 2.0, 0.5), (0.05, 2.0, 0.5)]), 17)
    assert forecast.of_all.now == pytest.approx(1 - law(0.05, 2.0, 0.5)[-1], abs=0.002)
    assert forecast.of_all.doubled == pytest.approx(1 - law(0.05, 2.0, 0.5, np.array([1600.0]))[0], abs=0.005)
    assert 0 < forecast.of_all.low <= forecast.of_all.gain <= forecast.of_all.high < 0.05
    assert forecast.of_all.is_worth_it


def test_a_labels_error_falls_by_the_same_share_as_that_of_all_rows():
    forecast = sufficiency.forecast(measured([(0.0, 6.0, 0.5), (0.0, 0.3, 0.5)]), 17)
    (hard, easy), of_all = forecast.of_labels, forecast.of_all
    share = of_all.gain / (1 - of_all.now)
    assert hard.gain == pytest.approx((1 - hard.now) * share) and hard.is_worth_it
    assert easy.gain == pytest.approx((1 - easy.now) * share) and not easy.is_worth_it


def test_where_nothing_is_learned_any_more_all_is_enough():
    forecast = sufficiency.forecast(measured([(0.1, 0.0, 0.5), (0.0, 0.0, 0.5)]), 17)
    assert not forecast.of_all.is_worth_it and not any(each.is_worth_it for each in forecast.of_labels)
    assert forecast.of_labels[1].now == 1.0


def test_a_small_or_uncertain_gain_is_not_worth_twice_the_rows():
    assert Gain(0.8, 0.83, 0.01, 0.05).is_worth_it
    assert not Gain(0.8, 0.83, 0.0, 0.05).is_worth_it
    assert not Gain(0.8, 0.805, 0.001, 0.05).is_worth_it


def test_the_probe_is_tested_on_rows_that_it_has_not_seen(monkeypatch):
    truth = np.arange(80) % 2
    draw = np.random.default_rng(5)
    vectors = torch.tensor(draw.normal(size=(80, 4)) + truth[:, None], dtype=torch.float32)
    sizes = []
    fit = sufficiency.probe.fit
    monkeypatch.setattr(sufficiency.probe, "fit", lambda rows, *more: sizes.append(len(rows)) or fit(rows, *more))
    measurement = sufficiency.measure(vectors, truth, Probe(c=1.0, max_iterations=100), 17, lambda _: None)
    assert measurement.tested.sum() == 80 and (measurement.wrong <= measurement.tested[:, None]).all()
    assert sizes[:6] == sorted(sizes[:6]) and max(sizes) == 70
    assert measurement.errors(np.arange(8))[0][-1] < 0.35


def test_too_few_rows_for_a_curve_are_refused():
    truth = np.array([0] * 30 + [1] * 5)
    with pytest.raises(Refused, match="too few for a learning curve"):
        sufficiency.measure(torch.ones(35, 2), truth, Probe(c=1.0, max_iterations=9), 1, lambda _: None)
