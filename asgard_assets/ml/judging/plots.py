"""Small pictures of a model, as PNG bytes: for MLflow's artifacts and, inline, for Dagster's metadata."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asgard_assets.ml.spec import Task

if TYPE_CHECKING:
    import numpy as np

BINS = 8


def draw(task: Task, y: np.ndarray, p: np.ndarray, weights: Mapping[str, float]) -> dict[str, bytes]:
    """How good the predictions `p` of the outcomes `y` are, and which features they rest on."""
    if task == "regression":
        shown = {"predicted_and_observed": _png(lambda axes: _observed(axes, y, p))}
    else:
        shown = {
            "roc_curve": _png(lambda axes: _roc(axes, y, p)),
            "calibration": _png(lambda axes: _calibration(axes, y, p)),
        }
    lost = "RMSE gained when shuffled" if task == "regression" else "AUC lost when shuffled"
    return shown | {"feature_importance": _png(lambda axes: _importance(axes, weights, lost), width=5.2)}


def markdown(name: str, png: bytes) -> str:
    """An inline image that Dagster's UI shows."""
    return f"![{name.replace('_', ' ')}](data:image/png;base64,{base64.b64encode(png).decode()})"


def _png(paint: Any, width: float = 3.6) -> bytes:
    # Not pyplot: its global figure registry leaks in a long-lived code server and picks a GUI backend.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 3.0), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    paint(figure.add_subplot())
    target = io.BytesIO()
    figure.savefig(target, format="png", metadata={"Software": None})
    return target.getvalue()


def _roc(axes: Any, y: np.ndarray, p: np.ndarray) -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    false_positive, true_positive, _ = roc_curve(y, p)
    axes.plot(false_positive, true_positive, color="#2458a6")
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--")
    axes.set(
        title=f"ROC, AUC {roc_auc_score(y, p):.3f}", xlabel="false positive rate", ylabel="true positive rate"
    )


def _calibration(axes: Any, y: np.ndarray, p: np.ndarray) -> None:
    from sklearn.calibration import calibration_curve

    observed, predicted = calibration_curve(y, p, n_bins=BINS, strategy="quantile")
    limit = 1.05 * max(observed.max(), predicted.max())
    axes.plot(predicted, observed, marker="o", markersize=3, color="#2458a6")
    axes.plot([0, limit], [0, limit], color="#999999", linewidth=0.8, linestyle="--")
    axes.set(title="Calibration", xlabel="predicted", ylabel="observed")


def _observed(axes: Any, y: np.ndarray, p: np.ndarray) -> None:
    limits = [min(y.min(), p.min()), max(y.max(), p.max())]
    axes.scatter(p, y, s=4, alpha=0.4, color="#2458a6")
    axes.plot(limits, limits, color="#999999", linewidth=0.8, linestyle="--")
    axes.set(title="Predicted and observed", xlabel="predicted", ylabel="observed")


def _importance(axes: Any, weights: Mapping[str, float], lost: str) -> None:
    top = list(weights.items())[:8][::-1]
    axes.barh([name.split("__")[-1] for name, _ in top], [value for _, value in top], color="#2458a6")
    axes.tick_params(labelsize=7)
    axes.set(title="Feature importance", xlabel=lost)
