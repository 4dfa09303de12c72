"""The project's own assets on the cluster: the tables and the event log of the same run in process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster.world import Home, World, users

DAYS = ("2026-10-05", "2026-10-06", "2026-10-07")
OWN = {"started_at", "finished_at", "duration_seconds", "run_id", "attempts", "response_headers", "epoch"}
FIGURES: dict[str, Any] = {}


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


@pytest.fixture(scope="module")
def pair(world: World) -> tuple[Home, Home]:
    """The same assets in process and on the cluster, each on a lake of its own."""
    here, there = world.home("here", ASGARD_LAUNCHER="none"), world.home("there")
    for home in (here, there):
        users(home, *DAYS)
    return here, there


def launch(home: Home, select: str, *days: str) -> float:
    """Materialize; returns the host process's peak memory in MB, and checks that it holds no JVM and no Spark."""
    host = home.start(select, *days)
    process, peak, names = psutil.Process(host.pid), 0, set()
    while host.poll() is None:
        try:
            family = [process, *process.children(recursive=True)]
            peak = max(peak, sum(one.memory_info().rss for one in family))
            names |= {one.name() for one in family}
        except psutil.NoSuchProcess:
            break
        try:
            host.wait(0.5)
        except Exception:  # noqa: BLE001 - the time is up: look again
            continue
    assert host.wait(30) == 0, home.said[-6000:]
    if home.environment["ASGARD_LAUNCHER"] == "kubernetes":
        assert not {name for name in names if "java" in name}, names
    return peak / 2**20


def test_a_day_of_the_api_runs_in_executor_pods(pair: tuple[Home, Home]) -> None:
    here, there = pair
    peak = launch(there, "bronze/usage", DAYS[0])
    launch(here, "bronze/usage", DAYS[0])
    assert len(rows(there, "bronze", "usage")) > 0
    assert rows(there, "bronze", "usage") == rows(here, "bronze", "usage")
    assert events(there) == events(here)
    FIGURES.update(seconds(there), host_peak_mb=round(peak))
    print("figures:", FIGURES)
    assert peak <= 250, f"the host's processes took {peak:.0f} MB"


def test_a_range_of_three_days_is_one_application(pair: tuple[Home, Home], world: World) -> None:
    here, there = pair
    for home in (there, here):
        launch(home, "bronze/usage", DAYS[0], DAYS[-1])
    assert there.said.count("Launched asgard-") == 2  # the day before, and the range
    assert rows(there, "bronze", "usage") == rows(here, "bronze", "usage")
    assert events(there) == events(here)
    world.nothing_left()


def test_silver_runs_there_too(pair: tuple[Home, Home]) -> None:
    here, there = pair
    for home in (there, here):
        launch(home, "silver/usage", DAYS[0], DAYS[-1])
    assert rows(there, "silver", "usage") == rows(here, "silver", "usage")
    assert events(there) == events(here)


def test_no_secret_is_in_any_object_event_or_log(
    pair: tuple[Home, Home], world: World, tmp_path: Path
) -> None:
    """Looked for while an application is there, and in what the run has left in Dagster's history."""
    from tests.cluster.test_stories import start

    home = world.home("canaries")
    host = start(home, "slow")
    kinds = "sparkapplications,pods,configmaps,services,events,networkpolicies"
    text = world.kubectl("get", kinds, "-n", "pipelines", "-o", "json")
    text += world.kubectl("logs", "-n", "pipelines", "-l", "spark-role=driver", "--tail=-1")
    host.terminate()
    host.wait(90)
    text += home.said + "".join(f.read_text(errors="replace") for f in home.folder.rglob("*") if f.is_file())
    text += pair[1].said
    assert "asgard-s3" in text
    key = world.environment["AWS_SECRET_ACCESS_KEY"]
    assert key not in text
    assert "ASGARD_STEP_KEY" not in text.replace("ASGARD_STEP_KEY is not set", "")
