"""A file dropped into the landing folder becomes new predictions, with nobody touching anything."""

from __future__ import annotations

import shutil
import time

import dagster as dg
import pytest

from tests.end_to_end.homes import Home
from tests.patience import ended, wait_until

DAY, AFTER = "2026-10-31", "2026-11-01"


def ticked(home: Home, sensor: str) -> bool:
    """Whether the daemon's sensor has looked since it started."""
    with dg.DagsterInstance.from_config(str(home.path / "dagster")) as instance:
        states = [s for s in instance.all_instigator_state() if s.instigator_name == sensor]
        return any(instance.get_ticks(s.instigator_origin_id, s.selector_id, limit=1) for s in states)


@pytest.mark.servers
@pytest.mark.timeout(1500)
def test_a_new_file_leads_to_new_predictions(copy_of_demo: Home, demo_api):
    home = copy_of_demo
    demo_api(home)
    before = home.lake.epochs("model", "churn_predictions", [DAY])[DAY]
    invoices = home.lake.epochs("bronze", "invoices", [DAY])[DAY]
    metrics = home.lake.epochs("gold", "customer_metrics", [AFTER])[AFTER]
    daemon = home.start("dagster-daemon", "run", "-w", "workspace.yaml")
    try:
        wait_until(lambda: ticked(home, "invoices_files"), 60, "the sensor has looked once")
        folder = home.path / "landing" / "invoices" / f"ds={DAY}"
        folder.mkdir(parents=True, exist_ok=True)
        waiting = folder / ".late.csv.tmp"
        waiting.write_text(
            "invoice_id,user_id,amount,currency,issued_at,due_at,paid,discount\n"
            f"800000001,1,99.50,EUR,{DAY},2026-11-14,false,0\n"
        )
        waiting.rename(folder / "late.csv")
        dropped = time.monotonic()
        wait_until(
            lambda: home.lake.epochs("bronze", "invoices", [DAY])[DAY] > invoices,
            180,
            "Bronze has the new file",
        )
        print(f"Bronze after {time.monotonic() - dropped:.0f} s")
        wait_until(
            lambda: home.lake.epochs("model", "churn_predictions", [DAY])[DAY] > before,
            400,
            "new predictions exist",
        )
        print(f"predictions after {time.monotonic() - dropped:.0f} s")
        # The file is late for its day: Gold's running totals of the next day hold its invoice too.
        wait_until(
            lambda: home.lake.epochs("gold", "customer_metrics", [AFTER])[AFTER] > metrics,
            200,
            "Gold has the late invoice on the next day too",
        )
    finally:
        ended(daemon, 30, group=True)
        for log in home.path.glob("dagster-daemon-*.log"):
            shutil.copy(log, home.path.parent)
    with home.lake.connect() as connection:
        found = connection.execute(
            "select customer_id, amount from silver.invoices where invoice_id = 800000001"
        )
        assert [(c, float(a)) for c, a in found.fetchall()] == [(1, 99.5)]
