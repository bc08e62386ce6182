"""Temperature scaling: one number that all logits are divided by, so that confidence means what it says.

Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2: the temperature that minimises the negative
log-likelihood of rows that training did not see. It changes no label.
"""

import math

import numpy as np

FEWEST = 30  # rows; with fewer nothing is fitted
LOW, HIGH = 0.05, 20.0  # temperatures beyond these mend nothing: the logits themselves are wrong


def fit(logits: np.ndarray, truth: np.ndarray, otherwise: float) -> float:
    """logits: [rows, labels]; truth: [rows] label numbers. `otherwise` if rows are too few, or a logit is not finite.

    The target of a row is its label but for 1 in rows + 2, spread over the other labels (Platt 1999, section 2.2): rows
    without a mistake would otherwise call for a temperature of zero. Rounded, so that it reads the same everywhere.
    """
    rows, labels = logits.shape
    if rows < FEWEST or labels < 2 or not np.isfinite(logits).all():
        return otherwise
    from scipy.optimize import minimize_scalar

    values = logits.astype(np.float64)
    spared = 1 / (rows + 2)
    targets = np.full_like(values, spared / (labels - 1))
    targets[np.arange(rows), truth] = 1 - spared

    def loss(log_temperature: float) -> float:
        scaled = values / math.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - (targets * scaled).sum(axis=1)))

    best = minimize_scalar(loss, bounds=(math.log(LOW), math.log(HIGH)), method="bounded", options={"xatol": 1e-5})
    return float(f"{math.exp(best.x):.4g}")
