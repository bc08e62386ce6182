"""The cheap baseline: logistic regression on the vectors of the frozen base. Door to sklearn.linear_model.

It is a model of its own (method `probe`), the measure that fine-tuning must beat, and the head that
fine-tuning starts from: a head that already knows the labels spares the encoder the first, wildest steps.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from retune.config.classification import Probe
from retune.errors import Refused
from retune.models import classifier
from retune.system.stage_io import heartbeat


def fit(
    vectors: torch.Tensor, truth: Sequence[int], labels: int, weights: torch.Tensor | None, params: Probe
) -> nn.Linear:
    """Multinomial logistic regression. vectors: [rows, width]; truth: [rows] label numbers below `labels`.

    weights: [labels], the weight of each label's rows, or None. Raises Refused where a number is not finite.
    """
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=params.c, max_iter=params.max_iterations)
    sample_weight = None if weights is None else weights.numpy()[np.asarray(truth)]
    if broken := int((~vectors.isfinite().all(dim=-1)).sum()):
        raise Refused(
            f"the base gives no number for {broken} of {len(vectors)} texts",
            remedy="its weights are damaged, so restore them or name another base in train.base",
        )
    with heartbeat(f"fitting the probe to {len(vectors):,} rows of {labels:,} labels"):
        regression.fit(vectors.numpy(), np.asarray(truth), sample_weight=sample_weight)
    if not np.isfinite(regression.coef_).all():
        raise Refused(f"the probe's weights are not finite with train.probe.c {params.c:g}", remedy="lower it")
    return _head(regression.coef_, regression.intercept_, regression.classes_, labels)


def _head(coefficients: np.ndarray, intercept: np.ndarray, classes: np.ndarray, labels: int) -> nn.Linear:
    if len(classes) == 2:  # scikit-learn folds two classes into one row
        coefficients = np.vstack([-coefficients[0], coefficients[0]]) / 2
        intercept = np.array([-intercept[0], intercept[0]]) / 2
    weight = torch.zeros(labels, coefficients.shape[1])
    bias = torch.full((labels,), -20.0)  # a label that no train row has (split allows it if told to)
    weight[classes] = torch.tensor(coefficients, dtype=torch.float32)
    bias[classes] = torch.tensor(intercept, dtype=torch.float32)
    return classifier.linear(weight, bias)
