"""Correlations of predictions and targets, as GLUE reports them (arXiv 1804.07461)."""

from collections.abc import Mapping

import numpy as np


def matthews(predicted: np.ndarray, labels: np.ndarray) -> Mapping[str, float]:
    """Matthews' correlation of two classes; 0 where it is not defined."""

    def count(prediction: int, label: int) -> float:
        return float(np.sum((predicted == prediction) & (labels == label)))

    tp, tn, fp, fn = count(1, 1), count(0, 0), count(1, 0), count(0, 1)
    norm = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    value = float((tp * tn - fp * fn) / norm) if norm else 0.0
    return {"Matthews correlation": value}


def correlation(predicted: np.ndarray, values: np.ndarray) -> Mapping[str, float]:
    """The mean of Pearson's and Spearman's correlation;
    0 where they are not defined.
    """
    from scipy.stats import rankdata

    if predicted.std() == 0 or values.std() == 0:
        return {"correlation": 0.0}
    pearson = float(np.corrcoef(predicted, values)[0, 1])
    spearman = float(np.corrcoef(rankdata(predicted), rankdata(values))[0, 1])
    return {
        "correlation": (pearson + spearman) / 2,
        "Pearson": pearson,
        "Spearman": spearman,
    }


METRICS = {"matthews": matthews, "correlation": correlation}
