"""A newcomer's path over REST: a source of files is made, tried, estimated and run; its rows are in Bronze."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.homes import Home
from tests.gateway.servers import gateway
from tests.patience import patience

ROOT = "/api/v1/ingestions"
ORDERS = {"name": "orders", "source": {"path": "orders", "glob": "*.csv"}, "format": "csv"}


def ended(client: httpx.Client, run_id: str, name: str = "orders") -> dict[str, Any]:
    """The run once it has ended."""
    deadline = time.monotonic() + patience(240)
    while True:
        found = client.get(f"{ROOT}/{name}/runs/{run_id}").raise_for_status().json()
        if found["state"] in ("COMPLETED", "FAILED"):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def run(client: httpx.Client, **body: Any) -> dict[str, Any]:
    started = client.post(f"{ROOT}/orders/run", json=body)
    assert started.status_code == 202, started.text
    return ended(client, started.json()["run_id"])


def rows(home: Home) -> list[tuple[Any, ...]]:
    with home.lake.connect() as lake:
        return lake.execute("select id, amount from bronze.orders order by id").fetchall()


@pytest.mark.servers
@pytest.mark.timeout(1800)
def test_files_become_a_table_without_code(tmp_path: Path):
    home = Home(tmp_path / "home")
    folder = home.path / "landing" / "orders"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("id,amount\n1,10\n2,20\n")
    calendar = {"ASGARD_PARTITION_END": "", "ASGARD_PARTITION_START": "2026-10-05", "ASGARD_DAGSTER_URL": ""}
    with gateway(home, **calendar) as client:
        tried = client.post(f"{ROOT}/test", json=ORDERS).json()
        assert (tried["ok"], tried["rows"][0]) == (True, {"id": 1, "amount": 10}), tried
        assert not home.lake.tables()
        cost = client.post(f"{ROOT}/estimate-cost", json=ORDERS).json()
        assert (cost["files"], cost["rows"], cost["basis"]) == (1, 2, "a sampled read"), cost
        made = client.post(ROOT, json=ORDERS)
        assert (made.status_code, made.json()["tables"]) == (201, ["bronze.orders"]), made.text
        dry = client.post(f"{ROOT}/orders/run", json={"dry_run": True}).json()
        assert dry["would_load"]["files"] == 1 and not dry["run_id"]

        first = run(client)
        assert (first["state"], first["files"], first["records"]) == ("COMPLETED", 1, 2), first
        assert rows(home) == [(1, 10), (2, 20)]
        again = run(client)
        assert (again["state"], again["files"]) == ("COMPLETED", 0), again
        after = client.post(f"{ROOT}/orders/estimate-cost").json()
        assert after["measured_runs"] == 1 and after["error_of_last"] is not None, after

        (folder / "b.csv").write_text("id,amount\n3,30\n4\n")
        (folder / "c.parquet.csv").write_bytes(b"\xff\xfe\x00\x00\xff")
        failed = run(client)
        assert failed["state"] == "FAILED" and failed["errors"], failed
        assert rows(home) == [(1, 10), (2, 20)]
        (folder / "c.parquet.csv").unlink()
        (folder / "b.csv").write_text("id,amount,note\n3,30,x\n")
        retried = client.post(f"{ROOT}/orders/runs/{failed['run_id']}/retry")
        assert retried.status_code == 202, retried.text
        done = ended(client, retried.json()["run_id"])
        assert (done["state"], done["trigger"], done["retry_of"]) == (
            "COMPLETED",
            "retry",
            failed["run_id"],
        ), done
        assert rows(home) == [(1, 10), (2, 20), (3, 30)]
        assert client.post(f"{ROOT}/orders/runs/{done['run_id']}/retry").status_code == 409
        listed = client.get(f"{ROOT}/orders/runs").json()["runs"]
        assert [one["run_id"] for one in listed][:2] == [done["run_id"], failed["run_id"]]
    with gateway(home, **calendar) as client:  # nothing is needed but the lake
        assert client.get(ROOT).json()["total"] == 1
        assert len(client.get(f"{ROOT}/orders/runs").json()["runs"]) == 4
