"""How strong the planted churn signal is: the Bayes ceiling beside a plain logistic regression.

    python -m deployments.local.demo.signal_report

The regression sees only what the sources show from START on, as Gold would compute it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np

from deployments.local.demo.world import PLANS, START, Day, Floats, Ints, World, number_of

FIRST = START + timedelta(days=6)  # the end of the first week


def snapshots(weeks: int) -> list[date]:
    """Last days of the first `weeks` weeks."""
    return [FIRST + timedelta(days=7 * week) for week in range(weeks)]


def observable(world: World, snapshot: date) -> tuple[Floats, Any]:
    """Features of the users subscribed at the end of `snapshot`, and who of them cancels in the next 7 days.

    Columns: sessions_7d, usage_trend, errors_7d, tickets_30d, high_tickets_30d, open_invoices, recency of
    use in days, one column a plan.
    """
    state, _, active = world.day(snapshot)
    number = number_of(snapshot)
    lived = [world.day(START + timedelta(days=n))[1] for n in range(number + 1)]

    def total(days: int, figure: Callable[[Day], Any]) -> Ints:
        return np.sum([figure(day) for day in lived[-days:]], axis=0)

    recent = total(7, lambda day: day.sessions)
    before = total(14, lambda day: day.sessions) - recent
    used = np.stack([day.sessions > 0 for day in reversed(lived)])
    columns = [
        recent,
        (recent - before) / np.maximum(before, 1),
        total(7, lambda day: day.errors),
        total(30, lambda day: day.severity >= 0),
        total(30, lambda day: day.severity == 2),
        total(len(lived), lambda day: day.billed & ~day.paid),
        np.where(used.any(0), used.argmax(0), len(lived)),
        *(state.plan == plan for plan in range(len(PLANS))),
    ]
    return np.stack(columns, axis=1).astype(float)[active], world.outcome(snapshot)[active]


def regression_auc(world: World, train: Sequence[date], test: Sequence[date]) -> float:
    """AUC over the `test` snapshots, pooled, of a logistic regression fitted to the `train` snapshots."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted, unseen = ([observable(world, day) for day in days] for days in (train, test))
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(np.concatenate([x for x, _ in fitted]), np.concatenate([y for _, y in fitted]))
    scores = model.predict_proba(np.concatenate([x for x, _ in unseen]))[:, 1]
    return float(roc_auc_score(np.concatenate([y for _, y in unseen]), scores))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="deployments.local.demo.signal_report", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--users", type=int, default=800)
    parser.add_argument("--seed", type=int, default=42)
    given = parser.parse_args(arguments)
    world = World(given.users, given.seed)
    days = snapshots(8)
    lines = ["snapshot    active  cancel in 7 days"]
    for day in days:
        active, leaves = world.day(day)[2], world.outcome(day)
        lines.append(f"{day}  {active.sum():6d}  {leaves.sum():4d} ({leaves.sum() / active.sum():.1%})")
    lines += [
        f"Bayes ceiling, snapshots {days[0]} to {days[2]}: {world.bayes_ceiling(days[0], days[2]):.3f}",
        f"Bayes ceiling, snapshots {days[0]} to {days[7]}: {world.bayes_ceiling(days[0], days[7]):.3f}",
        f"regression, trained on weeks 1-2, tested on week 3: {regression_auc(world, days[:2], days[2:3]):.3f}",
        f"regression, trained on weeks 1-2, tested on weeks 3-8: {regression_auc(world, days[:2], days[2:]):.3f}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
