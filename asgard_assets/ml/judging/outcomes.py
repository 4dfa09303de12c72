"""The two kinds of outcome: yes or no, and a number. How predictions are read, scored and believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from asgard_assets.ml.spec import Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Scores = Mapping[str, float]
# One-sided 99 %: with one candidate a week, chance at 95 % would make a champion every few months.
Z = 2.326
_TITLES = {"auc": "AUC", "average_precision": "average precision", "r2": "R²", "rmse": "RMSE", "mae": "MAE"}


class Kind(Protocol):
    """What judging needs to know of outcomes."""

    scoring: str
    """Name of the score in scikit-learn."""
    ranked_by: str
    """Figure by which the rule of thumb is compared."""
    evidence: str
    """What the lower bound is of, as a message calls it."""
    bounded: str
    """The same as a metric's name."""
    chance: float
    """What the lower bound must exceed."""

    def predict(self, model: Any, x: pd.DataFrame) -> np.ndarray: ...

    def scores(self, y: np.ndarray, p: np.ndarray) -> Scores: ...

    def better(self, one: Scores, other: Scores) -> bool: ...

    def lower_bound(
        self, y: np.ndarray, p: np.ndarray, average: np.ndarray, entities: np.ndarray
    ) -> float: ...

    def title(self, figure: str) -> str: ...


class _Titled:
    def title(self, figure: str) -> str:
        return _TITLES.get(figure, figure.replace("_", " "))


class Classification(_Titled):
    """Probabilities: how well they order (AUC, average precision) and how true they are (Brier, log loss)."""

    scoring = "roc_auc"
    ranked_by = "auc"
    evidence = "AUC"
    bounded = "auc"
    chance = 0.5

    def predict(self, model: Any, x: pd.DataFrame) -> np.ndarray:
        return model.predict_proba(x)[:, 1]

    def scores(self, y: np.ndarray, p: np.ndarray) -> Scores:
        from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

        return {
            "auc": float(roc_auc_score(y, p)),
            "average_precision": float(average_precision_score(y, p)),
            "brier": float(brier_score_loss(y, p)),
            "log_loss": float(log_loss(y, p, labels=[False, True])),
        }

    def better(self, one: Scores, other: Scores) -> bool:
        return one["auc"] > other["auc"]

    def lower_bound(self, y: np.ndarray, p: np.ndarray, average: np.ndarray, entities: np.ndarray) -> float:
        """Of the AUC, with as many observations as entities: an entity is positive where any of its rows is."""
        import numpy as np

        positive = np.unique(entities[y])
        return auc_lower_bound(self.scores(y, p)["auc"], len(positive), len(np.setdiff1d(entities, positive)))


class Regression(_Titled):
    """Numbers: how far off they are on average (MAE, RMSE), and how much of the spread they explain (R²)."""

    scoring = "neg_root_mean_squared_error"
    ranked_by = "rmse"
    evidence = "the gain over the average"
    bounded = "gain"
    chance = 0.0

    def predict(self, model: Any, x: pd.DataFrame) -> np.ndarray:
        import numpy as np

        return np.asarray(model.predict(x), dtype="float64").reshape(-1)

    def scores(self, y: np.ndarray, p: np.ndarray) -> Scores:
        from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

        return {
            "r2": float(r2_score(y, p)),
            "rmse": float(root_mean_squared_error(y, p)),
            "mae": float(mean_absolute_error(y, p)),
        }

    def better(self, one: Scores, other: Scores) -> bool:
        return one["rmse"] < other["rmse"]

    def lower_bound(self, y: np.ndarray, p: np.ndarray, average: np.ndarray, entities: np.ndarray) -> float:
        """Of the mean over entities of how much less squared error there is than with the average, as a share."""
        import numpy as np

        before, after = (average - y) ** 2, (p - y) ** 2
        _, place = np.unique(entities, return_inverse=True)
        rows = np.bincount(place)
        gains = np.bincount(place, before - after) / rows
        if len(gains) < 2 or not before.mean():
            return -math.inf
        bound = gains.mean() - Z * gains.std(ddof=1) / math.sqrt(len(gains))
        return float(bound / before.mean())


def auc_lower_bound(auc: float, positives: int, negatives: int) -> float:
    """One-sided 99 % lower bound of an AUC (Hanley and McNeil, 1982)."""
    first, second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (
        auc * (1 - auc) + (positives - 1) * (first - auc**2) + (negatives - 1) * (second - auc**2)
    ) / (positives * negatives)
    return auc - Z * math.sqrt(max(variance, 0.0))


_KINDS: dict[Task, Kind] = {"classification": Classification(), "regression": Regression()}


def kind_of(task: Task) -> Kind:
    return _KINDS[task]
