"""The project's own assets on the cluster: the tables and the event log of the same run in process."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from tests.cluster.test_stories import start
from tests.cluster.world import CANARIES, NAMESPACE, Home, World, users
from tests.patience import ended, patience

DAYS = ("2026-10-05", "2026-10-06", "2026-10-07")
OWN = {"started_at", "finished_at", "duration_seconds", "run_id", "attempts", "response_headers", "epoch"}


def rows(home: Home, stage: str, name: str) -> list[dict[str, Any]]:
    table = home.lake.table(stage, name)
    assert table is not None
    found = table.to_pyarrow_table().to_pylist()
    kept = [{k: v for k, v in row.items() if k not in OWN} for row in found]
    return sorted(kept, key=lambda row: json.dumps(row, default=str, sort_keys=True))


def events(home: Home) -> list[Any]:
    """The step's events with their checks, partitions, metadata labels and the figures that must agree."""
    shown = []
    for entry in home.log():
        event = entry.dagster_event
        if (
            event is None
            or event.step_key is None
            or not event.event_type_value.startswith(("STEP", "ASSET"))
        ):
            continue
        data: Any = event.event_specific_data
        what: Any = None
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            what = (data.check_name, data.passed, {k: v.value for k, v in data.metadata.items()})
        elif event.event_type_value == "ASSET_MATERIALIZATION":
            made = data.materialization
            same = ("dagster/partition_row_count", "version", "requests")
            figures = {k: made.metadata[k].value for k in same if k in made.metadata}
            versions = {k: v for k, v in (made.tags or {}).items() if "data_version/" in k}
            what = (
                made.asset_key,
                made.partition,
                sorted(made.metadata),
                figures,
                sorted(made.tags or {}),
                sorted(versions),
            )
        shown.append((event.event_type_value, event.step_key, what))
    return shown


def seconds(home: Home) -> dict[str, float]:
    """From the host's first event to what came first from the driver, and to success."""
    log = home.log()
    start = log[0].timestamp
    types = [(entry.dagster_event.event_type_value, entry.timestamp) for entry in log if entry.dagster_event]
    return {
        "first_event": round(next(t for kind, t in types if kind == "STEP_START") - start, 1),
        "success": round(next(t for kind, t in types if kind == "STEP_SUCCESS") - start, 1),
    }


def launch(home: Home, select: str, *days: str) -> float:
    """Materialize; returns the peak of the host's largest process in MB, and checks that none is a JVM."""
    host = home.start(select, *days)
    process, peak, names = psutil.Process(host.pid), 0, set()
    while host.poll() is None:
        try:
            family = [process, *process.children(recursive=True)]
            peak = max(peak, *(one.memory_info().rss for one in family))
            names |= {one.name() for one in family}
        except psutil.NoSuchProcess:
            break
        try:
            host.wait(0.5)
        except Exception:  # noqa: BLE001 - the time is up: look again
            continue
    assert host.wait(patience(30)) == 0, home.said[-6000:]
    if home.environment["ASGARD_LAUNCHER"] == "kubernetes":
        assert not {name for name in names if "java" in name}, names
    return peak / 2**20


@pytest.mark.together
def test_the_projects_assets_on_the_cluster_equal_those_in_process(world: World) -> None:
    """A day of the API, then three days of it and of Silver in one run: two applications."""
    here, there = world.home("here", ASGARD_LAUNCHER="none"), world.home("there")
    for home in (here, there):
        users(home, *DAYS)
    both = 'key:"bronze/usage" or key:"silver/usage"'
    with ThreadPoolExecutor() as pool:
        local = pool.submit(launch, here, "bronze/usage", DAYS[0])
        peak = launch(there, "bronze/usage", DAYS[0])
        local.result()
        assert rows(there, "bronze", "usage")
        assert rows(there, "bronze", "usage") == rows(here, "bronze", "usage")
        assert events(there) == events(here)
        print("figures:", seconds(there), f"host's peak {peak:.0f} MB")
        local = pool.submit(launch, here, both, DAYS[0], DAYS[-1])
        peak = max(peak, launch(there, both, DAYS[0], DAYS[-1]))
        local.result()
    assert there.said.count("Launched asgard-") == 3  # the day before; the range; Silver's range
    for stage in ("bronze", "silver"):
        assert rows(there, stage, "usage") == rows(here, stage, "usage")
    assert events(there) == events(here)
    # The code location (175 MB), and the libraries with which the check up_to_date opens the lake's logs: it is a step
    # of the host's own. Definitions, deltalake, pyarrow and DuckDB take 330 MB; the tables' rows must not come on top.
    assert peak <= 400, f"the host took {peak:.0f} MB"
    there.nothing_left()


@pytest.mark.together
def test_no_secret_is_in_any_object_event_or_log(world: World) -> None:
    """Looked for while an application is there, and in what the run has left in Dagster's history."""
    home = world.home("canaries")
    host = start(home, "slow")
    kinds = "sparkapplications,pods,configmaps,services,events,networkpolicies"
    text = world.kubectl("get", kinds, "-n", NAMESPACE, "-o", "json")
    text += world.kubectl("logs", "-n", NAMESPACE, home.driver(), "--tail=-1")
    ended(host, 90)
    text += home.said + "".join(f.read_text(errors="replace") for f in home.folder.rglob("*") if f.is_file())
    assert "s3-credentials" in text
    for secret in CANARIES.values():
        assert secret not in text
    assert "ASGARD_STEP_KEY" not in text.replace("ASGARD_STEP_KEY is not set", "")
    home.nothing_left()
