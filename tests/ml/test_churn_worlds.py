"""The demo's churn model in worlds of other seeds: that it ranks well is no luck of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asgard_assets.lake import Lake
from asgard_assets.ml import training
from asgard_assets.ml.candidate import train
from asgard_assets.ml.inputs import inputs, part
from asgard_assets.ml.judging.outcomes import kind_of
from asgard_assets.ml.moments import cut_off, day_ending
from asgard_assets.ml.project import model_in
from asgard_assets.ml.store import open_store
from asgard_assets.settings import Settings
from deployments.local.demo.world import World
from tests.checkout import ROOT
from tests.ml.world_gold import DAYS, gold, publish

pytestmark = [pytest.mark.servers, pytest.mark.soak]

CHURN = model_in(ROOT / "asgard_assets" / "defs" / "model" / "churn")
KIND = kind_of(CHURN.spec.task)
WEEKS = ["2026-10-12", "2026-10-19", "2026-10-26"]
BAR = 0.76


@pytest.mark.parametrize("seed", [42, 1, 2, 3])
def test_the_model_ranks_well_at_every_cut_off(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By the AUC expected over the futures that could have been, for everybody asked about at the last snapshots.

    The AUC of one future, on those who were held out, rests on 20 to 60 who cancel: it is printed beside.
    """
    monkeypatch.setenv("ASGARD_HOME", str(tmp_path))
    settings, ends = Settings(), {week: cut_off(week) for week in WEEKS}
    publish(Lake.from_settings(settings), gold(seed=seed))
    with open_store(settings) as store:
        rows = training.build(CHURN, store, ends, DAYS[0])
    found = {}
    for week in WEEKS:
        of_week = rows.filter(np.array(rows["ds"].to_pylist()) == week)
        model, frame = train(CHURN, of_week), of_week.to_pandas()
        x, y = part(CHURN, of_week, "validation")
        seen = KIND.scores(y, KIND.predict(model, x))["auc"]
        asked = frame["snapshot"].isin(frame.loc[frame["split"] == "validation", "snapshot"])
        score = KIND.predict(model, inputs(CHURN, frame).loc[asked])
        found[week] = expected_auc(score, risks(World(800, seed), frame.loc[asked]))
        print(f"seed {seed}, {week}: expected {found[week]:.3f}, this future {seen:.3f}")
    assert min(found.values()) >= BAR, found


def risks(world: World, rows: pd.DataFrame) -> np.ndarray:
    """The true probability of each row: who cancels within the horizon."""
    truth = np.zeros(len(rows))
    for moment in sorted(rows["snapshot"].unique()):
        at = (rows["snapshot"] == moment).to_numpy()
        probability, _ = world.risk(day_ending(moment))
        truth[at] = probability[rows.loc[at, "customer_id"].to_numpy() - 1]
    return truth


def expected_auc(score: np.ndarray, truth: np.ndarray) -> float:
    """Of a score, where each row's outcome is drawn with its true probability; equal scores count half."""
    above = (score[:, None] > score[None, :]) + 0.5 * (score[:, None] == score[None, :])
    np.fill_diagonal(above, 0)
    weights = truth[:, None] * (1 - truth[None, :])
    np.fill_diagonal(weights, 0)
    return float((above * weights).sum() / weights.sum())
