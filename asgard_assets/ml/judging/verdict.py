"""Judge a candidate beside what anybody could do without a model, and beside the champion so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ModelError
from asgard_assets.lake import duck
from asgard_assets.ml.inputs import entities, part
from asgard_assets.ml.judging.outcomes import Scores, kind_of
from asgard_assets.ml.spec import ModelDefinition, ModelSpec, Rule

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate may become champion, and every figure that says so."""

    spec: ModelSpec
    candidate: Scores
    average: Scores
    rule: Scores | None
    champion: Scores | None
    champion_version: int | None
    lower_bound: float

    @property
    def reasons(self) -> list[str]:
        """Why not; empty where the candidate is promoted."""
        kind, loss = kind_of(self.spec.task), self.spec.judged_by
        name, mine, found = loss.replace("_", " "), self.candidate[loss], []
        if self.lower_bound <= kind.chance:
            found.append(
                f"{kind.evidence} is not surely above chance (99 % lower bound {self.lower_bound:.3f})"
            )
        if (
            self.rule is not None
            and self.spec.rule is not None
            and not kind.better(self.candidate, self.rule)
        ):
            figure = kind.ranked_by
            found.append(
                f"{kind.title(figure)} {self.candidate[figure]:.3f} is no better than the {self.spec.rule.name} "
                f"rule's {self.rule[figure]:.3f}"
            )
        if mine >= self.average[loss]:
            found.append(
                f"{name} {mine:.4f} is not below {self.average[loss]:.4f}, that of always saying the average"
            )
        # Of classifications by log loss, for it is the probabilities that are used: on other worlds than the demo's,
        # champions chosen this way were better afterwards, in AUC too, which few positives hardly tell apart.
        if self.champion is not None and mine >= self.champion[loss]:
            found.append(
                f"{name} {mine:.4f} is not below the {self.champion[loss]:.4f} of "
                f"version {self.champion_version}, the champion so far"
            )
        return found

    @property
    def passed(self) -> bool:
        return not self.reasons

    def markdown(self) -> str:
        rows = [("candidate", self.candidate), ("average (baseline)", self.average)]
        if self.rule is not None and self.spec.rule is not None:
            rows.append((f"{self.spec.rule.name} (baseline)", self.rule))
        if self.champion is not None:
            rows.append((f"champion so far (version {self.champion_version})", self.champion))
        kind = kind_of(self.spec.task)
        lines = [
            f"| on the validation rows | {' | '.join(map(kind.title, self.candidate))} |",
            "|---|" + "---|" * len(self.candidate),
        ]
        lines += [f"| {name} | {' | '.join(f'{v:.4f}' for v in s.values())} |" for name, s in rows]
        return "\n".join(lines)


def judge(
    definition: ModelDefinition,
    model: Any,
    rows: pa.Table,
    champion: Any = None,
    champion_version: int | None = None,
) -> Verdict:
    """Candidate, baselines and the champion so far, all on the same validation rows."""
    import numpy as np

    spec, kind = definition.spec, kind_of(definition.spec.task)
    x, y = part(definition, rows, "validation")
    if len(set(y.tolist())) < 2:
        raise ModelError(
            f"the {len(y)} validation rows hold one outcome only; no model can be judged on them"
        )
    _, trained = part(definition, rows, "train")
    average = np.full(len(y), trained.mean())
    guessed = kind.predict(model, x)
    return Verdict(
        spec=spec,
        candidate=kind.scores(y, guessed),
        average=kind.scores(y, average),
        rule=None if spec.rule is None else kind.scores(y, by_rule(spec.rule, rows, float(trained.mean()))),
        champion=None if champion is None else kind.scores(y, kind.predict(champion, x)),
        champion_version=champion_version,
        lower_bound=kind.lower_bound(y, guessed, average, entities(definition, rows, "validation")),
    )


def by_rule(rule: Rule, rows: pa.Table, average: float) -> np.ndarray:
    """What the rule of thumb says of each validation row."""
    with duck.connect() as connection:
        connection.register("pulled", rows)
        found = connection.execute(
            f"""select ({rule.sql})::double from (
                select *, {average!r}::double as average, row_number() over () as line from pulled
            ) where split = 'validation' order by line"""
        ).fetchnumpy()
    import numpy as np

    return np.asarray(next(iter(found.values())))


def importance(definition: ModelDefinition, model: Any, rows: pa.Table, repeats: int = 3) -> dict[str, float]:
    """How much of a score is lost when a feature's values are shuffled; largest first."""
    from sklearn.inspection import permutation_importance

    x, y = part(definition, rows, "validation")
    found: Any = permutation_importance(
        model, x, y, scoring=kind_of(definition.spec.task).scoring, n_repeats=repeats, random_state=0
    )
    pairs = zip(x.columns, found.importances_mean.tolist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def metrics(verdict: Verdict) -> dict[str, float]:
    """Flat figures for MLflow."""
    named: dict[str, Mapping[str, float] | None] = {
        "": verdict.candidate,
        "baseline_average_": verdict.average,
        "baseline_rule_": verdict.rule,
        "champion_": verdict.champion,
    }
    flat = {prefix + key: value for prefix, s in named.items() for key, value in (s or {}).items()}
    return flat | {f"{kind_of(verdict.spec.task).bounded}_lower_bound": verdict.lower_bound}
