"""The sensor of a file source: what its ticks ask for, show and tell."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from asgard_assets.components import file_sensor as module
from asgard_assets.components.file_sensor import BATCH_TAG, Cursor, file_sensor, look
from asgard_assets.components.files import file_asset
from asgard_assets.components.platform.automation import alert_owner
from asgard_assets.errors import ConfigError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.plan import control
from asgard_assets.ingest.files.plan.load_plan import write_plan
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.lake.numbers import plan_id
from asgard_assets.resources.environment import resources
from asgard_assets.settings import Settings
from tests.benchmarks import sensor
from tests.fakes.receiver import Receiver, receiving
from tests.patience import patience

DAYS = ["2026-10-05", "2026-10-06"]
KEY = dg.AssetKey(["bronze", "orders"])


def source(**changes: object) -> FileSource:
    return FileSource.model_validate(
        {"name": "orders", "path": "orders", "ds": {"type": "folder"}, "description": "Orders.", "owners": ["team:shop"]}
        | changes
    )  # fmt: skip


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def landing(settings: Settings) -> Path:
    folder = Path(settings.landing_root) / "orders"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def receiver():
    with receiving() as one:
        yield one


def drop(landing: Path, day: str, *names: str) -> None:
    (landing / f"ds={day}").mkdir(exist_ok=True)
    for name in names:
        (landing / f"ds={day}" / name).write_text("id\n1\n")


def tick(instance: dg.DagsterInstance, cursor: str | None = None, **changes: object):
    sensor = file_sensor(source(**changes))
    defs = dg.Definitions(assets=[file_asset(source(**changes))], sensors=[sensor], resources=resources())
    context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=defs)
    return sensor.evaluate_tick(context)


def figures(evaluated) -> dict[str, object]:
    [event] = evaluated.asset_events
    return {name: value.value for name, value in event.metadata.items()}


def loaded(lake: Lake, landing: Landing, day: str, names: list[str]) -> None:
    """Commit the day as a load of these files does, without Spark."""
    import pyarrow as pa

    found = [landing.look(f"orders/ds={day}/{name}") for name in names]
    files = [file for file in found if file is not None]
    number = (lake.table("bronze", "orders").transaction_version(plan_id("orders", day)) or 0) if lake.table("bronze", "orders") else 0  # fmt: skip
    plan = write_plan(lake, "orders", {day: number}, {day: files}, replaces=True)
    schema = pa.schema([("id", pa.string()), ("ds", pa.string())])
    lake.publish(lake.stage("bronze", "orders", schema, [day]), plans={plan_id("orders", day): plan.number})


# Asking --------------------------------------------------------------------------------------------------


def test_a_paused_source_starts_nothing_and_its_tick_says_why_and_what_waits(lake, landing, instance):
    drop(landing, DAYS[0], "a.csv", "b.csv")
    control.pause(lake, "orders", "vendor resends", "ana")
    paused = tick(instance)
    assert not paused.run_requests
    assert "vendor resends" in paused.skip_message and "by ana" in paused.skip_message
    assert "2 files (10 bytes) outstanding" in paused.skip_message
    assert figures(paused)["paused"] is True
    assert control.resume(lake, "orders") and not control.resume(lake, "orders")
    assert [r.partition_key for r in tick(instance).run_requests] == [DAYS[0]]


def test_pausing_twice_keeps_the_first_reason(lake):
    first = control.pause(lake, "orders", "one")
    assert control.pause(lake, "orders", "two") == first


def test_a_batch_whose_run_failed_is_asked_for_again_after_asgard_retry(lake, landing, instance):
    drop(landing, DAYS[0], "a.csv")
    [request] = tick(instance).run_requests
    create_run_for_test(
        instance,
        "job",
        tags={**request.tags, "dagster/partition": DAYS[0]},
        status=dg.DagsterRunStatus.FAILURE,
    )
    waiting = tick(instance)
    assert not waiting.run_requests and "asgard retry orders" in waiting.skip_message
    control.retry(lake, "orders")
    [again] = tick(instance).run_requests
    assert again.run_key != request.run_key and again.tags[BATCH_TAG] != request.tags[BATCH_TAG]


def test_a_run_says_how_much_it_has_to_load(landing, instance):
    drop(landing, DAYS[0], "a.csv", "b.csv")
    [request] = tick(instance).run_requests
    assert (request.tags["asgard/files"], request.tags["asgard/bytes"]) == ("2", "10")


def test_a_burst_of_ten_thousand_files_is_one_run_a_day_within_one_tick(landing, instance):
    for day in DAYS:
        drop(landing, day, *(f"{n:05}.csv" for n in range(5000)))
    began = time.process_time()
    burst = tick(instance)
    assert [(r.partition_key, r.tags["asgard/files"]) for r in burst.run_requests] == [
        (d, "5000") for d in DAYS
    ]
    assert time.process_time() - began < patience(10)


# Looking -------------------------------------------------------------------------------------------------


def test_a_cursor_that_nobody_can_read_begins_anew(landing, instance):
    drop(landing, DAYS[0], "a.csv")
    for cursor in ("", "orders/ds=2026-10-05/x.csv", '{"after": 1, "unknown": 2}', "[]"):
        assert [r.partition_key for r in tick(instance, cursor).run_requests] == [DAYS[0]]


def test_a_listing_over_several_ticks_sums_up_the_backlog(lake, landing, instance, monkeypatch):
    drop(landing, DAYS[0], *(f"{n}.csv" for n in range(5)))
    monkeypatch.setattr(module, "FILES_PER_TICK", 2)
    cursor, seen, told = None, [], []
    for _ in range(3):
        evaluated = tick(instance, cursor)
        cursor, seen = evaluated.cursor, [*seen, Cursor.read(evaluated.cursor).files]
        told += evaluated.asset_events
    assert seen == [2, 4, 5]
    [event] = told
    assert event.metadata["backlog_files"].value == 5
    assert not tick(instance, cursor).asset_events or Cursor.read(cursor).after == ""


def test_the_backlog_is_told_once_and_again_when_it_changes(lake, landing, instance):
    drop(landing, DAYS[0], "a.csv")
    os.utime(landing / f"ds={DAYS[0]}" / "a.csv", (time.time() - 7200,) * 2)
    first = tick(instance)
    told = figures(first)
    assert (told["backlog_files"], told["backlog_bytes"], told["paused"]) == (1, 5, False)
    assert told["backlog_oldest_hours"] == pytest.approx(2, abs=0.1)
    assert not tick(instance, first.cursor).asset_events
    loaded(lake, Landing.from_settings(), DAYS[0], ["a.csv"])
    done = tick(instance, first.cursor)
    assert figures(done)["backlog_files"] == 0 and done.skip_message == "every file is loaded"


def test_an_ordered_source_looks_behind_what_is_loaded_and_at_all_of_it_once_in_a_while(lake, landing):
    ordered, place = source(ordered=True, full_listing_hours=1), Landing.from_settings()
    drop(landing, DAYS[0], "b.csv")
    loaded(lake, place, DAYS[0], ["b.csv"])
    found, cursor = look(lake, place, ordered, Cursor(full_at=1000.0), now=1001.0)
    assert found.files == 0
    drop(landing, DAYS[0], "a.csv")
    drop(landing, DAYS[1], "c.csv")
    found, cursor = look(lake, place, ordered, cursor, now=1002.0)
    assert [f.path for fs in found.todo.values() for f in fs] == [f"orders/ds={DAYS[1]}/c.csv"]
    found, cursor = look(lake, place, ordered, cursor, now=1001.0 + 3600)
    assert [f.path for fs in found.todo.values() for f in fs] == [
        f"orders/ds={DAYS[0]}/a.csv",
        f"orders/ds={DAYS[1]}/c.csv",
    ]
    assert (cursor.full_at, cursor.after, cursor.full) == (4601.0, "", False)


# Telling -------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_listed_fails_the_tick_and_tells_the_owner_once(
    lake, landing, instance, receiver: Receiver, monkeypatch
):
    from asgard_assets.errors import SourceError

    def refused(*args: object, **kwargs: object) -> None:
        raise SourceError("orders: the store refuses the listing (403)", source="orders")

    monkeypatch.setenv("ASGARD_ALERT_WEBHOOKS", json.dumps({"team:shop": f"{receiver.url}/shop"}))
    with monkeypatch.context() as broken:
        broken.setattr(module, "scan", refused)
        receiver.status = 500
        with pytest.raises(Exception, match="refuses the listing"):
            tick(instance)
        assert control.read_control(lake, "orders").alerted == ""
        receiver.status = 200
        receiver.posted.clear()
        for _ in range(2):
            with pytest.raises(Exception, match="refuses the listing"):
                tick(instance)
    [(path, body)] = receiver.posted
    assert path == "/shop" and body["owners"] == ["team:shop"] and "(403)" in body["text"]
    tick(instance)
    assert control.read_control(lake, "orders").alerted == ""


def failed_run(instance: dg.DagsterInstance, name: str = "orders"):
    """A run that really failed, as the failure sensor is shown it."""

    @dg.asset(key=["bronze", name], owners=["team:shop"])
    def broken() -> None:
        raise dg.Failure("the vendor sent nonsense")

    result = dg.materialize([broken], instance=instance, raise_on_error=False)
    defs = dg.Definitions(assets=[broken], sensors=[alert_owner])
    return dg.build_run_status_sensor_context(
        sensor_name="alert_owner",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
        repository_def=defs.get_repository_def(),
    ).for_run_failure()


def test_a_failed_run_is_posted_to_the_owner_of_its_assets(
    settings, instance, receiver: Receiver, monkeypatch
):
    monkeypatch.setenv("ASGARD_ALERT_WEBHOOK", f"{receiver.url}/all")
    monkeypatch.setenv("ASGARD_ALERT_WEBHOOKS", json.dumps({"team:shop": f"{receiver.url}/shop"}))
    alert_owner(failed_run(instance))
    [(path, body)] = receiver.posted
    assert path == "/shop" and body["owners"] == ["team:shop"]
    assert "bronze/orders" in body["text"] and "the vendor sent nonsense" in body["text"]
    assert "run_id" in body["details"]


def test_without_a_webhook_nothing_is_posted_and_a_refusal_is_an_error(
    settings, instance, receiver: Receiver, monkeypatch
):
    alert_owner(failed_run(instance))
    assert receiver.posted == []
    monkeypatch.setenv("ASGARD_ALERT_WEBHOOK", receiver.url)
    receiver.status = 500
    with pytest.raises(ConfigError, match="HTTP 500"):
        alert_owner(failed_run(instance))


@pytest.mark.slow
@pytest.mark.parametrize("flat", [False, True])
def test_ticks_with_many_known_files_stay_small(tmp_path: Path, flat: bool) -> None:
    """A smaller version of `tests.benchmarks.sensor`, which has a million and a bar of 200 MB."""
    sensor.landing(tmp_path, 40_000, flat=flat, letters=100)
    sensor.know(tmp_path, flat)
    for ordered in (False, True):
        found = sensor.measure(tmp_path, ordered, 2, flat)
        assert [tick["said"] for tick in found["ticks"]][-1] == "every file is loaded"
        assert found["peak_mb"] < 185, found
