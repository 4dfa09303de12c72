"""The full counts on the cluster: `pytest tests/cluster -m "soak and cluster" --timeout 7200 -s`."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from dagster._core.instance.methods.event_methods import EventMethods

from asgard_assets.resources.cluster import kubernetes_launcher
from asgard_assets.resources.pipes import PipesSparkApplicationClient
from asgard_assets.settings import Settings
from asgard_assets.spark.kube import Api
from tests.cluster import test_stories
from tests.cluster.world import World, import_image
from tests.servers.postgres import postgres

TURNS = int(os.environ.get("ASGARD_SOAK_TURNS", "10"))
APPLICATIONS = int(os.environ.get("ASGARD_SOAK_APPLICATIONS", "200"))
ENDINGS = {
    "out_of_memory": test_stories.test_a_driver_out_of_memory_is_told,
    "evicted": test_stories.test_an_evicted_driver_is_told,
    "cancelled": test_stories.test_a_cancelled_run_cleans_up_and_ends_as_cancelled,
    "application_deleted": test_stories.test_a_deleted_application_is_told_and_not_as_an_error_of_the_step,
    "host_killed": test_stories.test_a_killed_hosts_driver_stops_writing_and_leaves_nothing,
}
NO_LOGS = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
pytestmark = pytest.mark.soak


@pytest.mark.together
@pytest.mark.parametrize("turn", range(TURNS))
@pytest.mark.parametrize("ending", ENDINGS)
def test_each_end_leaves_the_run_in_the_right_state_and_nothing_behind(
    world: World, ending: str, turn: int
) -> None:
    ENDINGS[ending](world)


@pytest.mark.alone
def test_many_applications_submitted_at_once_all_end_and_dagster_knows(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Their drivers end at once: what is counted is our side and the operator's queue."""
    import_image("trivial")
    small = {
        "image": "localhost/trivial:test",
        "driver": {"coreRequest": "5m", "memory": "32m", "memoryOverhead": "32m"},
    }
    for name, value in world.home("many").environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ASGARD_SPARK_SPEC", json.dumps(small))
    launcher = kubernetes_launcher(Settings()).model_copy(
        update={
            "operator_seconds": 7200.0,
            "start_seconds": 7200.0,
            "poll_seconds": 2.0,
            "look_seconds": 10.0,
        }
    )
    client = PipesSparkApplicationClient(launcher)
    lived: list[float] = []

    @dg.asset
    def one(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        began = time.monotonic()
        try:
            done = client.run(context=context, main_application_file="local:///nothing.py")
            return done.get_materialize_result()  # pyright: ignore[reportReturnType]
        finally:
            lived.append(time.monotonic() - began)

    def failures(instance: dg.DagsterInstance) -> list[str | None]:
        result = dg.materialize([one], instance=instance, raise_on_error=False)
        return [event.message for event in result.all_events if event.is_failure]

    # Each run configures Python's logging anew, which deadlocks where other threads of the process are running runs.
    monkeypatch.setattr(EventMethods, "get_yaml_python_handlers", lambda self: [])
    calls = _counted(monkeypatch)
    memory: list[float] = []
    done = threading.Event()
    host = psutil.Process()

    def watch() -> None:
        while not done.wait(5):
            memory.append(host.memory_info().rss / 2**20)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    with history(tmp_path) as instance:
        try:
            with ThreadPoolExecutor(APPLICATIONS) as pool:
                runs = [pool.submit(failures, instance) for _ in range(APPLICATIONS)]
                failed = [message for run in runs for message in run.result()]
        finally:
            done.set()
            watcher.join()
        took = time.monotonic() - began
        states = [run.status.value for run in instance.get_runs()]
    minutes = sum(lived) / 60
    figures = (
        f"{APPLICATIONS} applications in {took:.0f} s: {states.count('SUCCESS')} succeeded; "
        f"{calls()} API calls in {minutes:.0f} application-minutes, {calls() / minutes:.1f} each; "
        f"host's memory by quarters {', '.join(f'{memory[len(memory) * i // 4 - (i > 0)]:.0f}' for i in range(5))} MB"
    )
    print(figures)
    assert states == ["SUCCESS"] * APPLICATIONS, f"{figures}; {failed[:5]}"
    assert calls() / minutes <= 40, figures
    assert max(memory) - memory[len(memory) // 4] <= 50, figures
    world.nothing_left()


@contextmanager
def history(folder: Path) -> Iterator[dg.DagsterInstance]:
    """Of a size for so many runs: in Postgres. Compute logs redirect the process's own output, and are left out."""
    with postgres(folder / "postgres") as database:
        (folder / "dagster.yaml").write_text(
            json.dumps(
                {"storage": database.storage, "telemetry": {"enabled": False}, "compute_logs": NO_LOGS}
            )
        )
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            yield instance


def _counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Counts the calls of every Api from now on."""
    connect, made = Api.connect, list[Api]()

    def connected(*arguments: Any) -> Api:
        made.append(connect(*arguments))
        return made[-1]

    monkeypatch.setattr(Api, "connect", connected)
    return lambda: sum(api.calls for api in made)
