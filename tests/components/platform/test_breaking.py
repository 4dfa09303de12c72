"""People are told before something breaks: once when it begins, and once when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
from dagster._core.test_utils import create_run_for_test
from dagster._utils.error import SerializableErrorInfo

from asgard_assets.components.platform.breaking import (
    Trouble,
    about_to_break,
    disks,
    keys,
    queue,
    sensors,
)
from asgard_assets.settings import Settings


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def test_each_trouble_is_told_once_and_its_end_too(instance: dg.DagsterInstance) -> None:
    now, told = list[Trouble](), list[str]()
    sensor, cursor = about_to_break((lambda *_: iter(now),), tell=told.append), None

    def tick() -> str:
        nonlocal cursor
        result = sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
        cursor = result.cursor
        return told.pop() if told else ""

    assert tick() == ""
    now.append(Trouble("disk of home", "the disk is full"))
    assert tick() == "Asgard: the disk is full" and tick() == ""
    now.append(Trouble("queue", "a run waits"))
    assert tick() == "Asgard: a run waits"
    now.clear()
    assert tick() == "Asgard: disk of home: well again; queue: well again" and tick() == ""


def test_what_nobody_took_is_told_again(instance: dg.DagsterInstance) -> None:
    tries = list[str]()

    def refuse(text: str) -> None:
        tries.append(text)
        raise OSError("no answer")

    sensor = about_to_break((lambda *_: iter([Trouble("a", "b")]),), tell=refuse)
    first = sensor(dg.build_sensor_context(instance=instance))
    sensor(dg.build_sensor_context(instance=instance, cursor=first.cursor))
    assert len(tries) == 2


def test_a_disk_that_fills_up(instance: dg.DagsterInstance, settings: Settings, monkeypatch) -> None:
    assert list(disks(instance, settings.model_copy(update={"disk_free_gib": 0}), 0)) == []
    (found,) = disks(instance, settings.model_copy(update={"disk_free_gib": 1e9}), 0) or [None]
    assert "GiB left" in found.text


def test_keys_that_the_store_refuses(instance: dg.DagsterInstance, settings: Settings, monkeypatch) -> None:
    assert list(keys(instance, settings, 0)) == []
    monkeypatch.setenv("ASGARD_LAKE", "s3://lake/x")
    monkeypatch.setenv("ASGARD_S3_ENDPOINT", "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    (found,) = keys(instance, Settings(), 0)
    assert found.name == "keys of the lake" and "renew them" in found.text


def test_a_queue_that_does_not_move(instance: dg.DagsterInstance, settings: Settings) -> None:
    run = create_run_for_test(instance, job_name="j", status=dg.DagsterRunStatus.NOT_STARTED)
    record = instance.get_run_record_by_id(run.run_id)
    assert record is not None
    begun = record.create_timestamp.timestamp()
    assert list(queue(instance, settings, begun + 60)) == []
    (found,) = queue(instance, settings, begun + 31 * 60)
    assert "waits for 31 minutes" in found.text
    create_run_for_test(instance, job_name="j", status=dg.DagsterRunStatus.STARTED)
    assert list(queue(instance, settings, begun + 31 * 60)) == [], "others are going on"


def test_a_sensor_that_fails(settings: Settings, tmp_path: Path) -> None:
    from dagster._core.remote_origin import (
        InProcessCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    place = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="m"))
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(place, "r"), "orders_sensor")
    instance = dg.DagsterInstance.local_temp(str(tmp_path))
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING)
    instance.add_instigator_state(state)
    error = SerializableErrorInfo("ValueError: no such folder\n", [], None)
    for number in range(3):
        assert list(sensors(instance, settings, 0)) == []
        instance.create_tick(
            TickData(
                state.instigator_origin_id, "orders_sensor", InstigatorType.SENSOR, TickStatus.FAILURE,
                float(number), selector_id=state.selector_id, error=error,
            )
        )  # fmt: skip
    (found,) = sensors(instance, settings, 0)
    assert "orders_sensor failed 3 times in a row: ValueError: no such folder" in found.text
