"""The demo's world: the same everywhere, and with the churn signal that docs/demo.md states."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from deployments.local.demo.signal_report import observable, regression_auc, snapshots
from deployments.local.demo.world import HISTORY, HORIZON, START, World, bayes_ceiling

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def digest(world: World, days: int = 35) -> str:
    every = [START + timedelta(days=n) for n in range(days)]
    told = [[world.usage(d), world.tickets(d), world.invoices(d), world.contacts(d)] for d in every]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def test_another_process_sees_the_same_world(world: World) -> None:
    code = (
        "from tests.deployments.test_demo_world import digest, World\n"
        "w = World(); w.day('2026-12-01'); print(digest(w))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == digest(world)


def test_fewer_users_are_the_first_of_more_and_another_seed_is_another_world(world: World) -> None:
    assert World(60).usage("2026-10-20") == world.usage("2026-10-20")[:60]
    assert World(60, seed=1).usage("2026-10-20") != world.usage("2026-10-20")[:60]


def test_nobody_uses_anything_or_comes_back_after_cancelling(world: World) -> None:
    gone: set[int] = set()
    for n in range(40):
        for row in world.usage(START + timedelta(days=n)):
            if row["subscription"] == "cancelled":
                gone.add(row["user_id"])
                assert row["sessions"] == row["minutes"] == row["features_used"] == row["errors"] == 0
            else:
                assert row["user_id"] not in gone
    assert 150 < len(gone) < 400


def test_everybody_is_a_customer_before_the_first_partition(world: World) -> None:
    assert all(row["subscription"] == "active" for row in world.usage(START - timedelta(days=1)))


def test_tickets_and_invoices_have_ids_of_their_own_and_stop_with_the_subscription(world: World) -> None:
    tickets, invoices = [], []
    for n in range(60):
        day = START + timedelta(days=n)
        subscribed = {row["user_id"] for row in world.usage(day) if row["subscription"] == "active"}
        for rows, found in ((world.tickets(day), tickets), (world.invoices(day), invoices)):
            assert {row["user_id"] for row in rows} <= subscribed
            found += rows
    assert len({row["ticket_id"] for row in tickets}) == len(tickets) > 2_000
    assert len({row["invoice_id"] for row in invoices}) == len(invoices) > 3_000


def test_contacts_cover_all_users_on_the_first_day_and_few_afterwards(world: World) -> None:
    assert [row["user_id"] for row in world.contacts(START)] == list(range(1, 801))
    later = [len(world.contacts(START + timedelta(days=n))) for n in range(1, 28)]
    assert 0.01 < np.mean(later) / 800 < 0.03


def test_a_day_that_the_world_does_not_know_is_refused(world: World) -> None:
    for day in (START - timedelta(days=HISTORY + 1), START + timedelta(days=HORIZON)):
        with pytest.raises(ValueError, match="the demo knows 2026-09-05 to"):
            world.usage(day)


def test_five_to_eight_percent_cancel_in_a_week(world: World) -> None:
    rates = [world.outcome(day).sum() / world.day(day)[2].sum() for day in snapshots(8)]
    assert 0.05 < np.mean(rates) < 0.08


def test_the_true_probability_is_calibrated() -> None:
    many = World(6_000, seed=3)
    probability, active = many.risk("2026-10-18", futures=16)
    cancelled = many.outcome("2026-10-18")
    assert cancelled[active].mean() == pytest.approx(probability[active].mean(), rel=0.1)
    riskiest = active & (probability > np.quantile(probability[active], 0.9))
    assert cancelled[riskiest].mean() == pytest.approx(probability[riskiest].mean(), rel=0.2)


def test_the_ceiling_is_the_expected_auc_of_the_true_probability(world: World) -> None:
    from sklearn.metrics import roc_auc_score

    probability, active = world.risk("2026-10-11")
    p, generator = probability[active], np.random.default_rng(0)
    drawn = [roc_auc_score(generator.random(len(p)) < p, p) for _ in range(200)]
    assert world.bayes_ceiling("2026-10-11", "2026-10-11") == pytest.approx(np.mean(drawn), abs=0.01)


def test_a_regression_on_what_can_be_observed_stays_below_the_ceiling(world: World) -> None:
    weeks = snapshots(5)
    ceiling = bayes_ceiling(weeks[0], weeks[2])
    assert 0.82 < ceiling < 0.88
    assert 0.65 < regression_auc(world, weeks[:2], weeks[2:3]) < ceiling
    assert 0.72 < regression_auc(World(6_000, seed=1), weeks[:2], weeks[2:]) < 0.82


def test_features_of_the_report_know_nothing_after_the_snapshot() -> None:
    short, long = World(100), World(100)
    long.day(date(2026, 12, 20))
    assert np.array_equal(observable(short, snapshots(1)[0])[0], observable(long, snapshots(1)[0])[0])
