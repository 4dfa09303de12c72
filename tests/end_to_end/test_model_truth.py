"""The demo's model against the truth that only the simulation knows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from asgard_assets.lake import Lake
from asgard_assets.ml.candidate import stored, train
from asgard_assets.ml.inputs import part
from asgard_assets.ml.judging.outcomes import kind_of
from asgard_assets.ml.judging.verdict import judge
from asgard_assets.ml.moments import day_ending
from asgard_assets.ml.project import model_in
from asgard_assets.ml.registry import Registry, Version
from deployments.local.demo.world import World
from tests.checkout import ROOT
from tests.end_to_end.homes import Demo, Home
from tests.end_to_end.test_blocking import plant, version_seen_by_another_process
from tests.end_to_end.test_readme import copy_of_the_repository

pytestmark = [pytest.mark.servers, pytest.mark.timeout(1800)]
CHURN = model_in(ROOT / "asgard_assets" / "defs" / "model" / "churn")
KIND = kind_of(CHURN.spec.task)
WEEKS = {"2026-10-19": "2026-10-12", "2026-10-26": "2026-10-19", "2026-11-02": "2026-10-26"}  # by cut-off
LAST = WEEKS["2026-11-02"]


@pytest.fixture
def registry(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("ASGARD_LAKE", demo.lake.root)  # MLflow's files lie in the lake that the settings name
    return Registry(f"sqlite:///{demo.path / 'mlflow.db'}", name="churn")


def scored(demo: Demo, registry: Registry, version: Version) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Validation rows of a version's own cut-off, its probabilities, and what happened."""
    rows, _ = stored(CHURN, demo.lake, WEEKS[version.cut_off])
    x, y = part(CHURN, rows, "validation")
    frame = rows.to_pandas()
    return frame[frame["split"] == "validation"], KIND.predict(registry.load(version), x), y


@dataclass(frozen=True)
class Ceiling:
    """What the best possible score reaches on rows: expected over outcomes, and its scatter."""

    expected: float
    deviation: float


def ceiling(rows: pd.DataFrame) -> Ceiling:
    """AUC of the world's true probability on exactly these rows, over the futures that could have been.

    Outcomes are drawn by customer, not by row: the three snapshots of a customer share most of their week,
    so that a lucky draw is lucky three times. That scatter is what one simulated week may lie above its
    expectation by.
    """
    from scipy.stats import rankdata

    world, moments = World(800), sorted(rows["snapshot"].unique())
    truth = np.zeros(len(rows))
    for moment in moments:
        at = (rows["snapshot"] == moment).to_numpy()
        probability, _ = world.risk(day_ending(moment))
        truth[at] = probability[rows.loc[at, "customer_id"].to_numpy() - 1]
    ranks = rankdata(truth)
    customers, place = np.unique(rows["customer_id"], return_inverse=True)
    random, found = np.random.default_rng(0), []
    for _ in range(400):
        cancels = random.random(len(customers))[place] < truth
        positives, negatives = cancels.sum(), (~cancels).sum()
        found.append((ranks[cancels].sum() - positives * (positives + 1) / 2) / (positives * negatives))
    return Ceiling(float(np.mean(found)), float(np.std(found)))


def test_each_version_ranks_better_than_chance_and_no_better_than_the_world_allows(
    demo: Demo, registry: Registry
):
    versions = registry.versions()
    assert {version.cut_off for version in versions} == set(WEEKS)
    for version in versions:
        rows, p, y = scored(demo, registry, version)
        auc, best = KIND.scores(y, p)["auc"], ceiling(rows)
        print(f"{version.cut_off}: AUC {auc:.3f}, ceiling {best.expected:.3f} ± {best.deviation:.3f}")
        assert 0.76 <= auc <= best.expected


def test_probabilities_are_of_the_size_of_what_happens(demo: Demo, registry: Registry):
    for version in registry.versions():
        _, p, y = scored(demo, registry, version)
        assert y.mean() / 2 < p.mean() < y.mean() * 2, version
        assert KIND.scores(y, p)["log_loss"] < KIND.scores(y, np.full(len(y), y.mean()))["log_loss"], version


def test_the_champion_beats_both_baselines(demo: Demo, registry: Registry):
    champion = registry.champion()
    found = registry.client.get_run(champion.run_id).data.metrics
    assert champion.promoted
    assert found["auc"] > found["baseline_rule_auc"] and found["auc_lower_bound"] > 0.5
    assert found["log_loss"] < found["baseline_average_log_loss"]
    assert champion.cut_off == max(v.cut_off for v in registry.versions() if v.promoted)


def test_with_shuffled_labels_nothing_is_promoted(demo: Demo):
    """Of 90 such shuffles the gate lets 2 pass, as a bound of 99 % and correlated snapshots make one expect."""
    for week in WEEKS.values():
        rows, _ = stored(CHURN, demo.lake, week)
        for seed in range(5):
            shuffled = swapped_fates(rows, np.random.default_rng(seed))
            verdict = judge(CHURN, train(CHURN, shuffled), shuffled)
            assert not verdict.passed, (week, seed, verdict)


def swapped_fates(rows: pa.Table, random: np.random.Generator) -> pa.Table:
    """Each customer gets another one's outcome for all snapshots of a split: as correlated as real labels.

    Anew for training and validation, for a fate that a customer had in both could be learned by heart.
    """
    frame = rows.to_pandas()
    frame["fate"] = False
    for _, found in frame.groupby("split"):
        fates = found.groupby("customer_id")["cancelled"].max()
        other = pd.Series(random.permutation(fates.to_numpy()), index=fates.index)
        frame.loc[found.index, "fate"] = other.loc[found["customer_id"]].to_numpy()
    place = rows.schema.get_field_index("cancelled")
    return rows.set_column(place, "cancelled", pa.array(frame["fate"].to_numpy(dtype=bool)))


def test_a_feature_of_later_knowledge_is_refused_by_the_blocking_check(copy_of_demo: Home, tmp_path: Path):
    """Gold's rows of one day were completed a week later. Who forgets knowledge time is stopped."""
    day = "2026-10-15"

    def completed_later(rows: pa.Table) -> pa.Table:
        frame = rows.to_pandas()
        frame["created_at"] += timedelta(days=7)
        frame["sessions_7d"] = 10_000
        return pa.Table.from_pandas(frame, rows.schema, preserve_index=False)

    lake: Lake = copy_of_demo.lake
    plant(lake, "gold/customer_metrics", [day], completed_later)
    before = version_seen_by_another_process(copy_of_demo, "model/churn_training_set")
    honest = copy_of_demo.materialize('key:"model/churn_training_set"', LAST)
    assert honest.returncode == 0, honest.stderr[-3000:]
    rows, _ = stored(CHURN, lake, LAST)
    assert max(filter(None, rows["customer_activity__sessions_7d"].to_pylist())) < 10_000, "kept out"
    after = version_seen_by_another_process(copy_of_demo, "model/churn_training_set")
    assert after == before + 1

    repository = copy_of_the_repository(tmp_path / "repository")
    source = repository / "asgard_assets" / "ml" / "training.py"
    text = source.read_text()
    forgetful = text.replace("history=True)", "history=False)").replace(
        " and created_at <= event_timestamp", ""
    )
    assert forgetful != text
    source.write_text(forgetful)
    leaky = replace(copy_of_demo, repository=repository)
    done = leaky.materialize('key:"model/churn_training_set"', LAST)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert f"not published for {LAST} (features_precede_their_snapshot)" in said, said[-3000:]
    assert version_seen_by_another_process(copy_of_demo, "model/churn_training_set") == after
