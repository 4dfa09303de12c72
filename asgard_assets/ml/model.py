"""Train one churn model, and judge it beside what anybody could do without one."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ModelError
from asgard_assets.ml.churn import model_inputs
from asgard_assets.ml.inputs import part

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

# Candidates for the strength of regularization, and parts that customers are split into to choose one.
REGULARIZATIONS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
FOLDS = 5
# Source files that decide what a model is: a change in one of them makes a new version.
CODE = ("model.py", "inputs.py", "training.py", "churn.py")
# One-sided 99 %: with one candidate a week, chance at 95 % would make a champion every few months.
Z = 2.326


@dataclass(frozen=True)
class Scores:
    """How well probabilities order (AUC, average precision) and how true they are (Brier, log loss)."""

    auc: float
    average_precision: float
    brier: float
    log_loss: float


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate may become champion, and every figure that says so."""

    candidate: Scores
    prevalence: Scores
    rule: Scores
    champion: Scores | None
    champion_version: int | None
    auc_low: float

    @property
    def reasons(self) -> list[str]:
        """Why not; empty where the candidate is promoted."""
        found = []
        if self.auc_low <= 0.5:
            found.append(f"AUC is not surely above chance (99 % lower bound {self.auc_low:.3f})")
        if self.candidate.auc <= self.rule.auc:
            found.append(f"AUC {self.candidate.auc:.3f} is not above the usage rule's {self.rule.auc:.3f}")
        if self.candidate.log_loss >= self.prevalence.log_loss:
            found.append(
                f"log loss {self.candidate.log_loss:.4f} is not below {self.prevalence.log_loss:.4f}, "
                "that of always saying the average"
            )
        # By log loss, for it is the probabilities that are used: on other worlds than the demo's, champions
        # chosen this way were better afterwards, in AUC too, which one week's few cancellations hardly tell apart.
        if self.champion is not None and self.candidate.log_loss >= self.champion.log_loss:
            found.append(
                f"log loss {self.candidate.log_loss:.4f} is not below the {self.champion.log_loss:.4f} of "
                f"version {self.champion_version}, the champion so far"
            )
        return found

    @property
    def passed(self) -> bool:
        return not self.reasons

    def markdown(self) -> str:
        rows = [("candidate", self.candidate), ("average (baseline)", self.prevalence)]
        rows.append(("usage decline (baseline)", self.rule))
        if self.champion is not None:
            rows.append((f"champion so far (version {self.champion_version})", self.champion))
        lines = [
            "| on the validation rows | AUC | average precision | Brier | log loss |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {name} | {s.auc:.3f} | {s.average_precision:.3f} | {s.brier:.4f} | {s.log_loss:.4f} |"
            for name, s in rows
        ]
        return "\n".join(lines)


def train(rows: pa.Table) -> Any:
    """Fit a logistic regression on the training split, as strongly regularized as it needs. Deterministic.

    The strength is the one with the least log loss on customers left out: the many snapshots of a customer
    are nearly one observation, and must not be on both sides. Raises ModelError where the split holds one
    outcome only.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    x, y = part(rows, "train")
    if len(set(y.tolist())) < 2:
        raise ModelError(
            f"the {len(y)} training rows hold one outcome only; check the labels in model/churn_training_set"
        )
    numeric, categorical = model_inputs()
    columns = ColumnTransformer(
        [
            ("numbers", "passthrough", numeric),
            ("categories", OneHotEncoder(handle_unknown="ignore"), categorical),
        ]
    )
    pipeline = Pipeline([("columns", columns), ("classifier", LogisticRegression(max_iter=1000))])
    search = GridSearchCV(
        pipeline, {"classifier__C": REGULARIZATIONS}, scoring="neg_log_loss", cv=GroupKFold(FOLDS)
    )
    return search.fit(x, y, groups=_training_customers(rows)).best_estimator_


def regularization(model: Any) -> float:
    """The strength that training chose (scikit-learn's C: smaller is stronger)."""
    return float(model.get_params()["classifier__C"])


def probabilities(model: Any, x: pd.DataFrame) -> np.ndarray:
    return model.predict_proba(x)[:, 1]


def judge(model: Any, rows: pa.Table, champion: Any = None, champion_version: int | None = None) -> Verdict:
    """Candidate, baselines and the champion so far, all on the same validation rows."""
    import numpy as np

    x, y = part(rows, "validation")
    if len(set(y.tolist())) < 2:
        raise ModelError(
            f"the {len(y)} validation rows hold one outcome only; no model can be judged on them"
        )
    _, trained = part(rows, "train")
    average = np.full(len(y), trained.mean())
    candidate = scores(y, probabilities(model, x))
    return Verdict(
        candidate=candidate,
        prevalence=scores(y, average),
        rule=scores(y, usage_rule(rows, average)),
        champion=None if champion is None else scores(y, probabilities(champion, x)),
        champion_version=champion_version,
        auc_low=lower_bound(candidate.auc, *_customers(rows)),
    )


def usage_rule(rows: pa.Table, average: np.ndarray) -> np.ndarray:
    """One feature, no training: whoever uses less than in the week before is likelier to leave."""
    import numpy as np

    frame = rows.to_pandas()
    frame = frame[frame["split"] == "validation"]
    before = frame["customer_activity__sessions_prev_7d"].fillna(0) + 2
    now = frame["customer_activity__sessions_7d"].fillna(0) + 2
    return np.clip(average * (before / now).to_numpy(), 0, 1)


def scores(y: np.ndarray, p: np.ndarray) -> Scores:
    from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

    return Scores(
        float(roc_auc_score(y, p)),
        float(average_precision_score(y, p)),
        float(brier_score_loss(y, p)),
        float(log_loss(y, p, labels=[False, True])),
    )


def lower_bound(auc: float, positives: int, negatives: int) -> float:
    """One-sided 99 % lower bound of an AUC (Hanley and McNeil, 1982)."""
    first, second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (
        auc * (1 - auc) + (positives - 1) * (first - auc**2) + (negatives - 1) * (second - auc**2)
    ) / (positives * negatives)
    return auc - Z * math.sqrt(max(variance, 0.0))


def importance(model: Any, rows: pa.Table, repeats: int = 3) -> dict[str, float]:
    """How much AUC is lost when a feature's values are shuffled; largest first."""
    from sklearn.inspection import permutation_importance

    x, y = part(rows, "validation")
    found: Any = permutation_importance(model, x, y, scoring="roc_auc", n_repeats=repeats, random_state=0)
    pairs = zip(x.columns, found.importances_mean.tolist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def metrics(verdict: Verdict) -> dict[str, float]:
    """Flat figures for MLflow."""
    named = {"": verdict.candidate, "baseline_average_": verdict.prevalence, "baseline_rule_": verdict.rule}
    if verdict.champion is not None:
        named["champion_"] = verdict.champion
    flat = {prefix + key: value for prefix, s in named.items() for key, value in asdict(s).items()}
    return flat | {"auc_lower_bound": verdict.auc_low}


def code_version() -> str:
    """Hash of the sources that decide what a model is."""
    folder = Path(__file__).parent
    return hashlib.sha256(b"\0".join((folder / name).read_bytes() for name in CODE)).hexdigest()[:16]


def _customers(rows: pa.Table) -> tuple[int, int]:
    """Customers behind the validation rows by outcome: a customer's snapshots are no independent evidence."""
    frame = rows.select(["split", "customer_id", "cancelled"]).to_pandas()
    frame = frame[frame["split"] == "validation"].groupby("customer_id")["cancelled"].any()
    return int(frame.sum()), int((~frame).sum())


def _training_customers(rows: pa.Table) -> np.ndarray:
    import pyarrow.compute as pc

    return rows.filter(pc.field("split") == "train")["customer_id"].to_numpy()
