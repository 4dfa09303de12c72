"""Bodies that do what few do arrive as in process, or fail with a reason; the assets are in `odd.py`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository

from asgard_assets.errors import SparkJobError
from asgard_assets.spark.s3 import ExchangeUnreachable
from asgard_assets.spark.transport import FolderTransport
from tests.checkout import ROOT
from tests.patience import patience
from tests.resources.odd import LONG
from tests.resources.test_launcher import failure, left_behind, story, types

pytestmark = pytest.mark.servers
SECRET = "canary-odd-secret"
Run = Callable[..., tuple[dg.DagsterInstance, list[dg.EventLogEntry]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs assets of `odd.py` in process or, `launched`, in drivers; returns the instance and the run's log."""
    monkeypatch.setenv("ODD_SECRET", SECRET)

    def run(
        *assets: str, launched: bool, tags: Mapping[str, str] | None = None, config: Any = None
    ) -> tuple[dg.DagsterInstance, list[dg.EventLogEntry]]:
        folder = tmp_path / ("there" if launched else "here")
        folder.mkdir()
        monkeypatch.delenv("LAUNCH_FOLDER", raising=False)
        if launched:
            monkeypatch.setenv("LAUNCH_FOLDER", str(folder / "exchange"))
        instance = dg.DagsterInstance.local_temp(str(folder))
        repository = ReconstructableRepository.for_module("tests.resources.odd", "defs", str(ROOT))
        keys = [dg.AssetKey(asset.split("/")) for asset in assets]
        with dg.execute_job(
            ReconstructableJob(repository, "__ASSET_JOB"),
            instance,
            asset_selection=keys,
            tags=dict(tags or {}),
            run_config=config,
            raise_on_error=False,
        ) as result:
            return instance, list(instance.all_logs(result.run_id))

    return run


@pytest.mark.parametrize(
    ("assets", "more"),
    [
        ((f"long/{LONG}",), {"tags": {"dagster/partition": "2026-10-05|日本"}}),
        (("configured",), {"config": {"ops": {"configured": {"config": {"rows": 5}}}}}),
        (("maybe", "surely", "after_maybe", "after_surely"), {}),
        (("checked", "after_checked"), {}),
        (("unpicklable",), {}),
        (("wishes_again",), {}),
        (("printing",), {}),
    ],
    ids=["names", "configuration", "optional-outputs", "checks", "error", "retry", "output"],
)
def test_what_few_do_arrives_as_in_process(
    run: Run, tmp_path: Path, assets: tuple[str, ...], more: dict[str, Any]
) -> None:
    """Long and foreign names, EnvVar, outputs left out, failed blocking checks, observations, RetryRequested."""
    _, here = run(*assets, launched=False, **more)
    _, there = run(*assets, launched=True, **more)
    assert story(there) == story(here)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept and not any(SECRET.encode() in path.read_bytes() for path in kept)
    assert not left_behind(tmp_path / "there" / "exchange")


def test_partitions_that_the_body_adds_and_deletes_are_the_hosts(run: Run) -> None:
    instance, _ = run("adding", launched=True)
    assert instance.get_dynamic_partitions("files") == ["new.csv"]


def test_a_driver_that_says_more_than_the_host_writes_down_is_not_given_up(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ODD_LAUNCHER", json.dumps({"host_seconds": patience(1)}))
    _, log = run("talkative", launched=True)
    assert [e.user_message for e in log if e.user_message.startswith("line ")] == [
        f"line {number}" for number in range(1000)
    ]
    assert "PIPELINE_SUCCESS" in types(log)


def test_a_child_that_runs_on_after_a_fork_says_nothing_in_its_parents_name(run: Run) -> None:
    _, log = run("forking", launched=True)
    assert types(log).count("STEP_SUCCESS") == 1 and "STEP_FAILURE" not in types(log)


def test_a_thread_that_keeps_the_driver_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD_LAUNCHER", '{"exit_seconds": 2}')
    _, log = run("threading_on", launched=True)
    assert "did not leave within 2 s" in failure(log).error.message


@pytest.mark.parametrize("asset", ["configured", "unpicklable"])
def test_an_exchange_that_cannot_be_removed_does_not_change_how_a_step_ended(
    run: Run, monkeypatch: pytest.MonkeyPatch, asset: str
) -> None:
    def refused(_: FolderTransport) -> None:
        raise SparkJobError("S3 refuses delete_object")

    _, usual = run(asset, launched=False)
    monkeypatch.setattr(FolderTransport, "remove", refused)
    _, log = run(asset, launched=True)
    told = [e.user_message for e in log if "may have left something behind" in e.user_message]
    assert len(told) == 1 and "asgard sweep" in told[0]
    left_out = ("ENGINE_EVENT",)
    assert [one for one in story(log) if told[0] not in str(one) and one[0] not in left_out] == story(usual)


def test_a_step_asks_its_exchange_no_more_often_than_it_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On S3 each look is a request. Twice a second for events, every five seconds for the driver's beat."""
    monkeypatch.setenv("ODD_LAUNCHER", '{"poll_seconds": 0.5}')
    calls, began = [], time.monotonic()
    for name in ("get", "put"):
        monkeypatch.setattr(FolderTransport, name, _counted(getattr(FolderTransport, name), calls))
    run("dozing", launched=True)
    seconds = time.monotonic() - began
    assert 10 < len(calls) < 3 * seconds + 20, (
        len(calls),
        seconds,
    )  # a chunk that is there is asked for at once


def _counted(call: Any, calls: list[str]) -> Any:
    def counting(transport: FolderTransport, name: str, *body: bytes) -> Any:
        calls.append(name)
        return call(transport, name, *body)

    return counting


def test_an_exchange_that_stays_away_is_tried_again_as_the_retry_policy_says(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ODD_LAUNCHER", '{"outage_seconds": 1}')
    get, away = FolderTransport.get, [3]

    def failing(transport: FolderTransport, name: str) -> bytes | None:
        if name.startswith("events/") and away[0]:
            away[0] -= 1
            raise ExchangeUnreachable("S3 does not answer at s3://lake")
        return get(transport, name)

    monkeypatch.setattr(FolderTransport, "get", failing)
    _, log = run("dozing", launched=True)
    (again,) = [e.dagster_event for e in log if e.dagster_event and e.dagster_event.is_step_up_for_retry]
    said = str(again.event_specific_data)
    assert "S3 does not answer at s3://lake" in said and "To fix:" in said
    assert "PIPELINE_SUCCESS" in types(log)
