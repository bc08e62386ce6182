"""Predictions for the gate to compare, and how its decision reads."""

from dataclasses import replace

import numpy as np
import pandas as pd

from retune.config.classification import Promote

SECTION = Promote(
    metric="macro_f1",
    margin_over_base=0.01,
    margin_over_champion=0.0,
    confidence=0.95,
    min_detectable_gain=0.02,
    power=0.8,
    max_label_recall_loss=0.05,
    max_slice_loss=0.02,
    max_robustness_loss=1.0,
    max_membership_auc=1.0,
    slices=["source", "known"],
    calibration_error_rise=0.05,
    calibration_bins=15,
    latency_ratio=1.5,
    approval=False,
    bootstrap=200,
    seed=17,
)
ACCURACY = replace(SECTION, metric="accuracy")
LABELS = np.array(["bills", "parcels", "repairs"])


def predictions(wrong, base_wrong=60, rows=120):
    """Predictions that are wrong in the first `wrong` rows, beside a base that is wrong in the first `base_wrong`."""
    return answers(np.arange(rows) < wrong, np.arange(rows) < base_wrong)


def answers(wrong, base_wrong=True):
    """Predictions of three labels in turn, wrong where told."""
    rows = len(wrong)
    truth = np.arange(rows) % 3
    columns = {
        name: LABELS[(truth + np.broadcast_to(where, rows)) % 3]
        for name, where in {"predicted": wrong, "base_predicted": base_wrong}.items()
    }
    return pd.DataFrame(
        {
            "id": [f"r{n}" for n in range(rows)],
            "label": LABELS[truth],
            **columns,
            "confidence": 0.9,
            "source": ["desk", "shop"] * (rows // 2) + ["desk"] * (rows % 2),
        }
    )


def broken(decision):
    return [(bound.kind, bound.name) for bound in decision.guardrails if bound.violated]


def outcomes(decision):
    return {rival.name: rival.outcome for rival in decision.rivals}
