"""Messages of an object store about new files: what they name, and what a sensor makes of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from asgard_assets.components import file_sensor as module
from asgard_assets.components.file_sensor import Cursor, file_sensor
from asgard_assets.components.files import file_asset
from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import File, Landing
from asgard_assets.ingest.files.landing.notices import notices_of, read_notices
from asgard_assets.ingest.files.plan import control
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.resources.environment import resources
from asgard_assets.settings import Settings

DAYS = ["2026-10-05", "2026-10-06"]
TIME = "2026-10-05T10:00:00.000Z"
AT = 1791194400_000000


def source(**changes: object) -> FileSource:
    fields = {"name": "orders", "path": "orders", "ds": {"type": "folder"}, "description": "Orders."}
    return FileSource.model_validate(fields | {"notify": {"type": "folder", "path": "_events"}} | changes)


def event(key: str, name: str = "ObjectCreated:Put", bucket: str = "landing", **about: Any) -> dict[str, Any]:
    """A message as S3 documents it."""
    about = {"key": key, "size": 5, "eTag": "0f", "sequencer": "0055AED6DCD90281E5"} | about
    record = {
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-east-1", "eventTime": TIME, "eventName": name,
        "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"}, "object": about},
    }  # fmt: skip
    return {"Records": [record]}


NAMED = File("orders/ds=2026-10-05/a b+c é.csv", 5, AT, "0f")
KEY = "in/orders/ds%3D2026-10-05/a+b%2Bc+%C3%A9.csv"
MESSAGES: dict[str, tuple[Any, list[File]]] = {
    "s3": (event(KEY), [NAMED]),
    "sns": ({"Type": "Notification", "TopicArn": "arn:aws:sns:x", "Message": json.dumps(event(KEY))}, [NAMED]),
    "minio": ({"EventName": "s3:ObjectCreated:Put", "Key": f"landing/{KEY}"} | event(KEY, "s3:ObjectCreated:Put"), [NAMED]),
    "event bridge": ({
        "version": "0", "detail-type": "Object Created", "source": "aws.s3", "time": "2026-10-05T10:00:00Z",
        "detail": {"bucket": {"name": "landing"}, "object": {"key": f"in/{NAMED.path}", "size": 5, "etag": "0f"}},
    }, [NAMED]),
    "versitygw": (event("in/orders/ds=2026-10-05/a b+c é.csv"), [NAMED]),
    "two records": ({"Records": event(KEY)["Records"] * 2}, [NAMED, NAMED]),
    "upload in parts": (event(KEY, "ObjectCreated:CompleteMultipartUpload"), [NAMED]),
    "test": ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "landing"}, []),
    "removal": (event(KEY, "ObjectRemoved:Delete"), []),
    "another bucket": (event(KEY, bucket="other"), []),
    "another folder": (event("in/invoices/ds%3D2026-10-05/a.csv"), []),
    "another root": (event("orders/ds%3D2026-10-05/a.csv"), []),
    "hidden": (event("in/orders/_tmp/a.csv"), []),
    "a folder": (event("in/orders/"), []),
}  # fmt: skip


class Given:
    """Messages as they are."""

    def __init__(self, *bodies: str) -> None:
        self.bodies = list(bodies)

    def receive(self, most: int, seconds: float):
        yield from enumerate(self.bodies)

    def remove(self, handles) -> None: ...


@pytest.mark.parametrize("form", MESSAGES)
def test_a_message_names_files_of_this_source_and_no_others(form: str) -> None:
    told, files = MESSAGES[form]
    notices, unread = read_notices(Landing("s3://landing/in"), source(), Given(json.dumps(told)))
    assert ([list(notice.files) for notice in notices], unread) == ([files], 0)


ENDLESS = json.dumps(event(KEY)).replace('"size": 5', '"size": 1e999')


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no json",
        "[]",
        "3",
        '{"Records": 1}',
        '{"Records": [{}]}',
        '{"detail": 1}',
        "[" * 100_000,
        ENDLESS,
    ],
    ids=range(9),
)
def test_a_message_that_nobody_can_read_is_counted(body: str) -> None:
    notices, unread = read_notices(Landing("s3://landing/in"), source(), Given(body))
    assert ([notice.files for notice in notices], unread) == ([()], 1)


def test_a_folder_of_messages_that_a_source_would_read_is_refused() -> None:
    with pytest.raises(ValueError, match="underscore"):
        source(notify={"type": "folder", "path": "events"})


# The sensor ----------------------------------------------------------------------------------------------


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def landing(settings: Settings) -> Path:
    for name in ("orders", "_events"):
        (Path(settings.landing_root) / name).mkdir(parents=True)
    return Path(settings.landing_root)


NOW = 1_790_000_000.0
LISTED = json.dumps({"full_at": NOW})
"""The cursor after a full listing."""


def drop(landing: Path, day: str, name: str, announced: int = 1) -> None:
    folder = landing / "orders" / f"ds={day}"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("id\n1\n")
    for n in range(announced):
        body = json.dumps(event(f"orders/ds%3D{day}/{name}"))
        (landing / "_events" / f"{day}-{name}-{n}.json").write_text(body)


def tick(instance: dg.DagsterInstance, cursor: str | None = LISTED, **changes: object):
    one = source(**changes)
    sensor = file_sensor(one, clock=lambda: NOW)
    defs = dg.Definitions(assets=[file_asset(one)], sensors=[sensor], resources=resources())
    context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=defs)
    return sensor.evaluate_tick(context)


def asked(evaluated) -> list[str]:
    return [request.partition_key for request in evaluated.run_requests or []]


def left(landing: Path) -> list[str]:
    return sorted(os.listdir(landing / "_events"))


def test_an_announced_file_asks_for_its_day_without_a_listing(landing, instance, monkeypatch) -> None:
    drop(landing, DAYS[0], "a.csv")
    drop(landing, DAYS[1], "silent.csv", announced=0)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("listed")

    monkeypatch.setattr(module, "scan", never)
    first = tick(instance)
    assert asked(first) == [DAYS[0]]
    assert left(landing) == []
    assert tick(instance, first.cursor).skip_message == "nothing was announced that is not loaded"


def test_a_message_that_was_lost_is_made_up_for_by_the_next_listing(landing, instance) -> None:
    drop(landing, DAYS[0], "silent.csv", announced=0)
    assert asked(tick(instance)) == []
    due = json.dumps({"full_at": NOW - 31 * 60})
    relisted = tick(instance, due, notify={"type": "folder", "path": "_events", "relist_minutes": 30})
    assert asked(relisted) == [DAYS[0]]
    assert Cursor.read(relisted.cursor).full_at == NOW
    assert asked(tick(instance, None)) == [DAYS[0]]  # a sensor that begins lists


def test_a_message_that_comes_twice_asks_once_and_one_for_a_loaded_file_not_at_all(
    lake: Lake, landing, instance
) -> None:
    from tests.components.test_file_sensor import loaded

    drop(landing, DAYS[0], "a.csv", announced=2)
    [request] = tick(instance).run_requests
    assert request.tags["asgard/files"] == "1"
    loaded(lake, Landing.from_settings(), DAYS[0], ["a.csv"])
    (landing / "_events" / "again.json").write_text(json.dumps(event(f"orders/ds%3D{DAYS[0]}/a.csv")))
    assert asked(tick(instance)) == []
    assert left(landing) == []


def test_messages_of_a_day_that_is_being_loaded_wait_for_its_end(landing, instance) -> None:
    drop(landing, DAYS[0], "a.csv")
    drop(landing, DAYS[1], "b.csv")
    key = frozenset([dg.AssetKey(["bronze", "orders"])])
    run = create_run_for_test(
        instance, "job", tags={"dagster/partition": DAYS[0]}, asset_selection=key, status=dg.DagsterRunStatus.STARTED
    )  # fmt: skip
    busy = tick(instance)
    assert asked(busy) == [DAYS[1]]
    assert left(landing) == [f"{DAYS[0]}-a.csv-0.json"]
    instance.report_run_failed(run)
    assert asked(tick(instance)) == [DAYS[0]]
    assert left(landing) == []


def test_a_paused_source_leaves_its_messages_where_they_are(lake: Lake, landing, instance) -> None:
    drop(landing, DAYS[0], "a.csv")
    control.pause(lake, "orders", "vendor resends")
    assert asked(tick(instance)) == []
    assert len(left(landing)) == 1


def test_without_its_queue_a_source_is_listed(landing, instance, monkeypatch) -> None:
    drop(landing, DAYS[0], "silent.csv", announced=0)

    class Gone:
        def receive(self, most: int, seconds: float):
            raise SourceError("the queue cannot be read: refused", source="q")

    monkeypatch.setattr(module, "notices_of", lambda *_: Gone())
    assert asked(tick(instance)) == [DAYS[0]]


def test_messages_that_nobody_can_read_are_told_and_hold_nothing_up(landing, instance) -> None:
    (landing / "_events" / "a.json").write_text("nonsense")
    (landing / "_events" / ".writing").write_text("half")
    assert tick(instance).skip_message == "1 messages; 1 of them nobody can read"
    assert left(landing) == [".writing"]


def test_a_source_without_notify_has_no_queue() -> None:
    assert notices_of(Landing("s3://landing/in"), source(notify=None)) is None
