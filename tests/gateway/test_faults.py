"""Two gateways over one Postgres, as processes with homes of their own. Each part ends in the middle of calls.

Dagster's UI is away all the time. Nothing is lost, nothing is made or started twice, and every error says what is wrong.
"""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests.end_to_end.homes import Home, free_port, listens
from tests.gateway.servers import airbyte
from tests.patience import ended, patience, wait_until
from tests.servers.postgres import Postgres, postgres

pytestmark = [pytest.mark.servers, pytest.mark.timeout(1800)]
ORDERS = {"name": "orders", "source": {"path": "orders"}, "format": "csv"}
MODEL = {"sql_query": "select 1 as id, 2 as x group by all", "output_table": "gold.mine", "key": ["id"]}


@dataclass
class Gateway:
    """`asgard serve` in a home of its own. Lake, landing root and databases are those of all."""

    home: Home
    extra: dict[str, str]
    headers: dict[str, str]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = self.home.start("asgard", "serve", "--port", str(self.port), **self.extra)

    def wait(self) -> None:
        wait_until(lambda: listens(self.port), 180, "the gateway answers")

    def kill(self) -> None:
        assert self.process is not None
        ended(self.process, 10, signal.SIGKILL)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        with httpx.Client(timeout=patience(60), trust_env=False) as client:
            address = f"http://127.0.0.1:{self.port}{path}"
            return client.request(method, address, json=body, headers=self.headers | headers)

    def post(self, path: str, body: Any, key: str) -> httpx.Response:
        return self.send("POST", path, body, **{"Idempotency-Key": key})

    def get(self, path: str) -> Any:
        answer = self.send("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@dataclass(frozen=True)
class World:
    one: Gateway
    two: Gateway
    database: Postgres
    folder: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    shared = Home(folder / "shared")
    landed = shared.path / "landing" / "orders"
    landed.mkdir(parents=True)
    (landed / "a.csv").write_text("id,amount\n1,10\n2,20\n")
    with postgres(folder / "pg") as database, airbyte(shared):
        extra = {
            "DATABASE_URL": database.url, "ASGARD_PARTITION_END": "", "ASGARD_LAKE": str(shared.path / "lake"), "ASGARD_LANDING": str(shared.path / "landing"),
            "ASGARD_AIRBYTE_URL": f"http://127.0.0.1:{shared.airbyte_port}", "ASGARD_DAGSTER_URL": f"http://127.0.0.1:{free_port()}",
        }  # fmt: skip
        history = folder / "history"  # its own is what `asgard` writes into its home
        history.mkdir()
        (history / "dagster.yaml").write_text(yaml.safe_dump({"storage": database.storage}))
        extra["DAGSTER_HOME"] = str(history)
        homes = [Home(folder / name) for name in ("one", "two")]
        for home in homes:
            home.path.mkdir()
        homes[0].run("asgard", "account", "add", "ann", "--role", "admin", **extra)
        key = homes[0].run("asgard", "account", "key", "ann", **extra).stdout.split()[-1]
        gateways = [Gateway(home, extra, {"Authorization": f"Bearer {key}"}) for home in homes]
        for one in gateways:
            one.start()
        try:
            for one in gateways:
                one.wait()
            yield World(*gateways, database, shared.path)
        finally:
            for one in gateways:
                if one.process is not None:
                    ended(one.process, 30)


@contextmanager
def sending(gateway: Gateway, path: str, body: Any, key: str) -> Iterator[None]:
    """A request that goes on during the block; its answer may be lost."""

    def send() -> None:
        try:
            gateway.post(path, body, key)
        except httpx.HTTPError:
            pass

    thread = threading.Thread(target=send)
    thread.start()
    yield
    thread.join()


def finished(gateway: Gateway, path: str) -> dict[str, Any]:
    found = dict[str, Any]()

    def over() -> bool:
        found.update(gateway.get(path))
        return found.get("state", found.get("status")) in ("COMPLETED", "FAILED", "CANCELLED")

    wait_until(over, 300, f"{path} has ended", pause=0.5)
    return found


def test_a_gateway_is_killed_in_the_middle_of_each_call_and_the_other_one_goes_on(
    world: World, chance: random.Random
):
    first, other = world.one, world.two
    made = dict[str, dict[str, Any]]()
    for path in ("/datasource", "/sink", "/ingestion", "/api/v1/ingestions", "/api/v1/ingestions/orders/run", "/dbt/transform"):  # fmt: skip
        body: Any = {
            "/datasource": {"source_type": "faker", "name": "f", "source_config": {"count": 5}},
            "/sink": {"name": "s", "destination_config": {"s3_bucket_name": "b"}},
            "/api/v1/ingestions": ORDERS,
            "/api/v1/ingestions/orders/run": {},
            "/dbt/transform": MODEL,
        }.get(path)
        if path == "/ingestion":
            body = {"source_id": made["/datasource"]["source_id"], "destination_id": made["/sink"]["destination_id"]}  # fmt: skip
        for one in (first, other):
            one.wait()
        with sending(first, path, body, f"key of {path}"):
            time.sleep(chance.uniform(0, 0.15))
            first.kill()
        first.start()
        answer = other.post(path, body, f"key of {path}")
        if path == "/api/v1/ingestions" and answer.status_code == 409:  # the name is the key: it was made
            answer = other.send("GET", "/api/v1/ingestions/orders")
        assert answer.is_success, f"{path}: {answer.text}"
        made[path] = answer.json()
        first, other = other, first
    first.wait()
    names = [
        [one[name] for one in first.get(path)[list_]]
        for path, list_, name in (("/datasource", "datasources", "name"), ("/sink", "sinks", "name"), ("/ingestion", "ingestions", "connection_name"))
    ]  # fmt: skip
    assert [found.count(name) for found, name in zip(names, ("f", "s", "ingestion"), strict=True)] == [
        1,
        1,
        1,
    ], names
    assert first.get("/api/v1/ingestions")["total"] == 1
    connection = made["/ingestion"]["connection_id"]
    synced = finished(first, f"/ingestion/{connection}/status")
    assert (synced["status"], synced["job_id"]) == ("COMPLETED", made["/ingestion"]["job_id"])
    run = made["/api/v1/ingestions/orders/run"]["run_id"]
    loaded = finished(first, f"/api/v1/ingestions/orders/runs/{run}")
    assert (loaded["state"], loaded["records"]) == ("COMPLETED", 2), loaded
    status = finished(first, f"/dbt/transform/{made['/dbt/transform']['run_id']}/status")
    assert status["state"] == "COMPLETED", status
    assert first.get("/api/v1/ingestions/orders/runs")["total"] == 1
    assert first.get("/transform/jobs")["total"] == 1


def test_of_many_requests_with_one_key_one_starts_and_of_many_changes_one_is_taken(world: World):
    both = [world.one, world.two] * 4
    for gateway in both[:2]:
        gateway.wait()
    with ThreadPoolExecutor(len(both)) as pool:
        body = {**MODEL, "output_table": "gold.raced"}
        answers = list(pool.map(lambda one: one.post("/dbt/transform", body, "raced"), both))
        runs = {one.json()["run_id"] for one in answers if one.status_code == 202}
        assert len(runs) == 1 and {one.status_code for one in answers} <= {202, 409}, [
            one.text for one in answers
        ]
        raced = {"name": "raced", "source": {"path": "orders"}, "format": "csv"}
        assert world.one.send("POST", "/api/v1/ingestions", raced).status_code == 201
        tag = world.two.send("GET", "/api/v1/ingestions/raced").headers["etag"]

        def change(number: int) -> int:
            body = {"source": {"path": "orders"}, "format": "csv", "description": f"change {number}"}
            return both[number].send("PUT", "/api/v1/ingestions/raced", body, **{"If-Match": tag}).status_code

        assert Counter(pool.map(change, range(len(both)))) == {200: 1, 412: len(both) - 1}
        found = world.one.get("/api/v1/ingestions/raced")
        assert found["revision"] == 2 and "change " in found["definition"]
        sinks = list(
            pool.map(lambda one: one.post("/sink", {"name": "raced", "destination_config": {"s3_bucket_name": "b"}}, "raced"), both)
        )  # fmt: skip
        assert {one.status_code for one in sinks} <= {201, 409}
        assert len([one for one in world.one.get("/sink")["sinks"] if one["name"] == "raced"]) == 1
    assert finished(world.two, f"/transform/{runs.pop()}/status")["state"] == "COMPLETED"


def test_a_worker_that_is_killed_is_a_failed_run_and_is_not_started_again(world: World):
    for gateway in (world.one, world.two):
        gateway.wait()
    body = {**MODEL, "output_table": "gold.killed"}
    run = world.one.post("/dbt/transform", body, "killed").json()["run_id"]

    def runs() -> bool:
        return world.two.get(f"/transform/{run}/status")["state"] == "RUNNING"

    wait_until(runs, 240, "the run has begun")
    victims = [one for one in psutil.process_iter(["cmdline"]) if run in (one.info["cmdline"] or ())]
    assert victims  # of the other gateway there may be one too, which comes second and leaves
    for one in victims:
        one.kill()
    status = finished(world.two, f"/transform/{run}/status")
    assert (status["state"], status["reason"]) == ("FAILED", "its process was ended from outside"), status
    again = world.two.post("/dbt/transform", body, "killed")
    assert (again.status_code, again.json()["run_id"]) == (202, run)
    assert sum(one["run_id"] == run for one in world.one.get("/transform/jobs")["jobs"]) == 1
    events = world.one.get(f"/transform/{run}/events")["events"]
    assert sum(one["type"] == "RUN_START" for one in events) == 1


def test_postgres_ends_in_the_middle_of_each_call_and_comes_back(world: World):
    for gateway in (world.one, world.two):
        gateway.wait()
    reads = (
        "/transform/jobs",
        "/api/v1/ingestions",
        "/api/v1/ingestions/orders/runs",
        "/data-products",
        "/health/ready",
    )
    writes = {
        "/dbt/transform": {**MODEL, "output_table": "gold.during"},
        "/sink": {"name": "during", "destination_config": {"s3_bucket_name": "b"}},
        "/api/v1/ingestions/orders/run": {"refresh": "all"},
    }
    stop = threading.Event()
    told = list[httpx.Response]()

    def ask(gateway: Gateway) -> None:
        while not stop.is_set():
            for path in reads:
                told.append(gateway.send("GET", path))
            for path, body in writes.items():
                told.append(gateway.post(path, body, f"during {path}"))

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask, gateway) for gateway in (world.one, world.two)]
        for _ in range(2):
            with world.database.away():
                time.sleep(3)
            before = len(told)
            wait_until(lambda n=before: any(one.is_success for one in told[n:]), 60, "it answers again")
        stop.set()
        for one in asking:
            one.result()
    assert {one.status_code for one in told} <= {200, 201, 202, 409, 503}, Counter(
        (one.status_code, one.text[:200]) for one in told if one.status_code not in (200, 201, 202, 409, 503)
    )
    refused = [one for one in told if one.status_code == 503]
    assert refused and all("does not answer" in one.json()["detail"] for one in refused), [
        one.text for one in refused
    ]
    assert world.one.send("GET", "/health").status_code == 200
    for path, body in writes.items():
        answers = [gateway.post(path, body, f"during {path}") for gateway in (world.one, world.two)]
        assert all(one.is_success for one in answers), [one.text for one in answers]
        assert answers[0].json() == answers[1].json()
    during = [one for one in world.two.get("/transform/jobs")["jobs"] if one["output_table"] == "gold.during"]
    assert len(during) == 1
    assert finished(world.one, f"/transform/{during[0]['run_id']}/status")["state"] == "COMPLETED"
    assert len([one for one in world.one.get("/sink")["sinks"] if one["name"] == "during"]) == 1
