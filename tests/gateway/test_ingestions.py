"""Ingestions over REST: what is made, refused, changed and deleted; who may; and the assets that come of it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pyarrow as pa
import pytest
import yaml
from dagster._core.test_utils import create_run_for_test

from asgard_assets.components.platform.definitions import definitions_in, managed_definitions
from asgard_assets.gateway.platform import Platform
from asgard_assets.ingest.files.plan.control import read_control
from asgard_assets.ingest.files.plan.quarantine import STAGE, quarantine_schema
from asgard_assets.ingest.files.shape.schema import Change, record
from asgard_assets.operations.transforms.submissions import Outcome
from asgard_assets.operations.transforms.submit import workspace_of
from tests.gateway.conftest import Keys

ROOT = "/api/v1/ingestions"
ORDERS: dict[str, Any] = {"name": "orders", "source": {"path": "orders"}, "format": "csv"}
DATABASE: dict[str, Any] = {
    "name": "shop", "type": "database",
    "source": {
        "database": {"type": "postgres", "host": "h", "database": "d", "user": "u", "password": "env:SHOP", "tls": "disable"},
        "tables": [{"table": "t", "key": ["id"], "load": {"type": "snapshot"}}],
    },
}  # fmt: skip
API: dict[str, Any] = {
    "name": "tickets", "type": "api",
    "source": {"endpoint": {"base_url": "https://api.example.com", "path": "/t"}, "form": {"type": "pull", "items": "data"}},
}  # fmt: skip
STREAM = {"name": "events", "type": "stream", "source": {"topic": "events.orders"}}


def landed(platform: Platform, path: str, text: str) -> None:
    file = Path(platform.ingestions.landing.root) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def make(client: httpx.Client, body: dict[str, Any] = ORDERS, **headers: str) -> dict[str, Any]:
    answer = client.post(ROOT, json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


def loaded(platform: Platform) -> set[str]:
    """The assets of a code location that is loaded now."""
    found = managed_definitions(dg.Definitions(), platform.lake).assets or ()
    return {
        key.to_user_string() for each in found if isinstance(each, dg.AssetsDefinition) for key in each.keys
    }


@pytest.mark.parametrize("body", [ORDERS, DATABASE, API, STREAM], ids=lambda body: body["name"])
def test_a_source_of_each_kind_becomes_assets(client: httpx.Client, platform: Platform, body: dict[str, Any]):
    made = make(client, body)
    assert loaded(platform) == {table.replace(".", "/") for table in made["tables"]} != set()


def test_an_ingestion_is_the_yaml_of_a_project(client: httpx.Client):
    made = make(client, {**ORDERS, "schedule": {"mode": "scheduled", "cron": "0 2 * * *", "timezone": "Europe/Berlin", "start": "2026-10-05"}})  # fmt: skip
    told = yaml.safe_load(made["definition"])
    assert told["type"] == "asgard_assets.components.files.FileIngest"
    assert told["attributes"]["load_from"] == "2026-10-05"
    assert told["attributes"]["pull"] == {"cron": "0 2 * * *"}
    assert told["attributes"]["time_zone"] == told["attributes"]["ds"]["time_zone"] == "Europe/Berlin"
    assert made["schedule"] == {"mode": "scheduled", "cron": "0 2 * * *"}


def test_each_change_is_a_revision_and_none_is_lost(client: httpx.Client, platform: Platform):
    make(client)
    seen = client.get(f"{ROOT}/orders")
    body = {"source": {"path": "orders", "glob": "*.csv"}}
    changed = client.put(f"{ROOT}/orders", json=body, headers={"If-Match": seen.headers["etag"]})
    assert (changed.status_code, changed.json()["revision"]) == (200, 2)
    late = client.put(
        f"{ROOT}/orders", json={"source": {"path": "x"}}, headers={"If-Match": seen.headers["etag"]}
    )
    assert late.status_code == 412
    assert definitions_in(platform.lake).load("orders", 1).document.attributes["path"] == "orders"
    assert client.put(f"{ROOT}/orders", json={**STREAM, "name": None}).status_code == 422
    assert (
        client.put(f"{ROOT}/orders", json={"type": "stream", "source": STREAM["source"]}).status_code == 409
    )


def test_a_deleted_one_is_gone_and_its_name_is_free_again(client: httpx.Client, platform: Platform):
    make(client)
    assert client.delete(f"{ROOT}/orders").status_code == 204
    assert client.get(f"{ROOT}/orders").status_code == client.delete(f"{ROOT}/orders").status_code == 404
    assert client.get(ROOT).json()["total"] == 0
    assert loaded(platform) == set()
    assert make(client)["revision"] == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"source": {"path": "s3://other/orders"}}, "does not lie below the landing root"),
        ({"source": {"path": "../x"}}, "source: path"),
        ({"source": {}}, "source.path"),
        ({"source": {"path": "a", "glup": "*"}}, "source: glup"),
        ({"source": {"path": "a", "checks": [{"name": "c", "sql": "1=1"}]}}, "source.checks"),
        ({"format": {"type": "csv", "delimiter": "ab"}}, "format"),
        ({"cluster": "moon"}, "cluster"),
        ({"schedule": {"mode": "scheduled", "cron": "never"}}, "cron"),
        ({"schedule": {"mode": "scheduled"}}, "cron"),
        ({"schedule": {"time_zone": "Mars/Base"}}, "Mars"),
        ({"name": "Orders"}, "name"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_kept(client: httpx.Client, change: dict[str, Any], says: str):
    answer = client.post(ROOT, json=ORDERS | change)
    assert answer.status_code == 422 and says in answer.text, answer.text
    assert client.get(ROOT).json()["total"] == 0


@pytest.mark.parametrize(
    "secret",
    [
        "file:/etc/passwd",
        "env:ASGARD_S3_KEY",
        "env:AWS_SECRET_ACCESS_KEY",
        "env:DATABASE_URL",
        "env:X${SECRET_KEY}",
    ],
)
def test_secrets_of_the_platform_are_no_source_s(client: httpx.Client, secret: str):
    server = {**DATABASE["source"]["database"], "password": secret}  # type: ignore[index]
    answer = client.post(ROOT, json={**DATABASE, "source": {**DATABASE["source"], "database": server}})  # type: ignore[dict-item]
    assert answer.status_code == 422 and "env:NAME" in answer.text


def test_a_name_is_taken_once(client: httpx.Client, platform: Platform):
    make(client)
    assert client.post(ROOT, json=ORDERS).status_code == 409
    assert client.post(ROOT, json={**DATABASE, "source": {**DATABASE["source"], "prefix": "", "tables": [{"table": "orders", "key": ["id"], "load": {"type": "snapshot"}}]}}).status_code == 422  # type: ignore[dict-item]  # fmt: skip


def test_a_table_is_read_by_its_own_workspace_alone(client: httpx.Client, platform: Platform):
    make(client, ORDERS | {"workspace_name": "main"})
    assert workspace_of(platform.lake, "bronze/orders") == "main"
    assert workspace_of(platform.lake, "bronze/others") == ""
    assert client.delete(f"{ROOT}/orders").status_code == 204
    assert workspace_of(platform.lake, "bronze/orders") == "main"


def test_an_account_of_a_workspace_reads_its_own_folders(client: httpx.Client, key: Keys):
    mine, other = key("editor", "main"), key("editor", "other")
    body = ORDERS | {"workspace_name": "main"}
    assert client.post(ROOT, json=body, headers=mine).status_code == 422
    own = body | {"source": {"path": "main/orders"}}
    assert client.post(ROOT, json=own, headers=other).status_code == 403
    make(client, own, **mine)
    assert client.get(f"{ROOT}/orders", headers=other).status_code == 404
    assert client.get(ROOT, headers=other).json()["total"] == 0
    assert client.put(f"{ROOT}/orders", json=own | {"name": "orders"}, headers=other).status_code in (
        403,
        422,
    )


def test_a_trial_shows_rows_and_writes_nothing(client: httpx.Client, platform: Platform, key: Keys):
    landed(platform, "orders/a.csv", "id,email,amount\n1,a@x,2.5\n")
    found = client.post(f"{ROOT}/test", json=ORDERS).json()
    assert found["rows"] == [{"id": 1, "email": "a@x", "amount": 2.5}] and found["ok"]
    assert found["columns"]["amount"] == "double"
    nothing = client.post(f"{ROOT}/test", json=ORDERS | {"source": {"path": "empty"}})
    assert nothing.status_code == 422 and "no folder empty" in nothing.text
    landed(platform, "orders/b.csv", "")
    (Path(platform.ingestions.landing.root) / "orders/b.parquet").write_bytes(b"PAR1 no")
    broken = client.post(f"{ROOT}/test", json={"source": {"path": "orders"}}).json()
    assert not broken["ok"] and "orders/b.parquet" in broken["unreadable"]
    assert platform.lake.tables() == [] and client.get(ROOT).json()["total"] == 0


def test_an_estimate_rests_on_real_files_and_the_schedule(client: httpx.Client, platform: Platform):
    for number in range(3):
        landed(platform, f"orders/{number}.csv", "id,amount\n" + "1,2\n" * 100)
    all_the_time = client.post(f"{ROOT}/estimate-cost", json=ORDERS).json()
    assert (all_the_time["files"], all_the_time["rows"], all_the_time["sampled_files"]) == (3, 300, 3)
    assert all_the_time["cost_per_dbu_hour"] == 0.40 and all_the_time["storage_cost_per_gb"] == 0.023
    daily = client.post(f"{ROOT}/estimate-cost", json=ORDERS | {"schedule": {"mode": "scheduled", "cron": "0 2 * * *"}}).json()  # fmt: skip
    hourly = client.post(f"{ROOT}/estimate-cost", json=ORDERS | {"schedule": {"mode": "scheduled", "cron": "0 * * * *"}}).json()  # fmt: skip
    assert (daily["monthly"]["runs"], hourly["monthly"]["runs"]) == (30, 720)
    assert hourly["monthly"]["compute_cost"] > 10 * daily["monthly"]["compute_cost"] > 0
    assert all_the_time["monthly"]["list_operations"] == 86_400
    late = client.post(f"{ROOT}/estimate-cost", json=ORDERS | {"schedule": {"start": "2099-01-01"}}).json()
    assert (late["files"], late["rows"]) == (0, 0)


def test_a_dry_run_starts_nothing(client: httpx.Client, platform: Platform):
    landed(platform, "orders/a.csv", "id\n1\n")
    make(client)
    told = client.post(f"{ROOT}/orders/run", json={"dry_run": True, "refresh": "all"})
    assert told.status_code == 200 and told.json()["would_load"]["shown"] == ["orders/a.csv"]
    assert platform.submissions.all() == []


def test_one_idempotency_key_starts_one_run(client: httpx.Client, platform: Platform):
    make(client)
    sent = [
        client.post(f"{ROOT}/orders/run", headers={"Idempotency-Key": "k"}).json()["run_id"] for _ in range(2)
    ]
    assert sent[0] == sent[1] and len(platform.submissions.all()) == 1
    other = client.post(f"{ROOT}/orders/run", headers={"Idempotency-Key": "k"}, json={"refresh": "all"})
    assert other.status_code == 409


def test_only_a_failed_run_is_retried_and_the_retry_is_a_run_of_its_own(
    client: httpx.Client, platform: Platform
):
    make(client)
    run = client.post(f"{ROOT}/orders/run", json={"partitions": "2026-10-05"}).json()["run_id"]
    assert client.post(f"{ROOT}/orders/runs/{run}/retry").status_code == 409
    platform.submissions.finish(run, Outcome(False, 9.0, reasons=("a.csv cannot be read",)))
    failed = client.get(f"{ROOT}/orders/runs/{run}").json()
    assert (failed["state"], failed["errors"]) == ("FAILED", ["a.csv cannot be read"])
    again = client.post(f"{ROOT}/orders/runs/{run}/retry").json()["run_id"]
    queued = platform.submissions.get(again)
    assert queued and (queued.ask, queued.partitions, queued.retry_of) == ("failed", "2026-10-05", run)
    assert client.get(f"{ROOT}/orders/runs/{run}0").status_code == 404


def test_a_paused_one_starts_nothing_by_itself(client: httpx.Client, platform: Platform, key: Keys):
    admin, operator = key("admin"), key("operator")
    make(client, **admin)
    paused = client.post(f"{ROOT}/orders/pause", json={"reason": "repairs"}, headers=operator).json()
    assert paused["status"] == "paused" and "repairs" in paused["paused"]
    assert read_control(platform.lake, "orders").pause is not None
    assert client.post(f"{ROOT}/orders/resume", headers=operator).json()["status"] == "active"
    assert client.post(ROOT, json=ORDERS | {"name": "b"}, headers=operator).status_code == 403


def test_a_list_goes_on_where_a_page_ended(client: httpx.Client):
    for letter in "abc":
        make(client, ORDERS | {"name": letter})
    first = client.get(ROOT, params={"limit": 2}).json()
    second = client.get(ROOT, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [one["id"] for one in first["ingestions"] + second["ingestions"]] == ["a", "b", "c"]
    assert (first["total"], second["next_cursor"]) == (3, "") and first["as_of"]


def test_a_source_that_cannot_be_made_any_more_keeps_no_other_from_loading(
    client: httpx.Client, platform: Platform, caplog: pytest.LogCaptureFixture
):
    make(client)
    broken = definitions_in(platform.lake).load("orders").document.model_copy(update={"name": "broken"})
    definitions_in(platform.lake).save(
        broken.model_copy(update={"attributes": {"name": "broken", "gone": 1}})
    )
    with caplog.at_level(logging.WARNING):
        assert loaded(platform) == {"bronze/orders"}
    assert "broken" in caplog.text


def test_a_decision_about_a_column_is_a_revision(client: httpx.Client, platform: Platform):
    make(client)
    columns = {"id": pa.int64(), "note": pa.string()}
    change = Change("NEW_COLUMN", "note", "", "string", "added")
    record(platform.lake, "orders", columns, (change,), (), 1)
    seen = client.get(f"{ROOT}/orders/schema").json()
    assert [(one["kind"], one["column"], one["decision"]) for one in seen["changes"]] == [
        ("NEW_COLUMN", "note", "")
    ]
    decided = client.post(f"{ROOT}/orders/schema/changes", json={"column": "note", "decision": "refuse"})
    assert decided.json()["revision"] == 2 and "schema_changes" in decided.json()["definition"]
    assert client.get(f"{ROOT}/orders/schema").json()["changes"][0]["decision"] == "refuse"
    assert (
        client.post(f"{ROOT}/orders/schema/changes", json={"column": "x", "decision": "accept"}).status_code
        == 404
    )


def test_the_quarantine_is_shown_and_loaded_again(client: httpx.Client, platform: Platform, key: Keys):
    admin, viewer = key("admin"), key("viewer")
    make(client, **admin)
    assert client.get(f"{ROOT}/orders/quarantine", headers=viewer).json()["total"] == 0
    day, at = "2026-10-05", datetime(2026, 10, 5, tzinfo=UTC)
    staging = platform.lake.stage(STAGE, "orders", quarantine_schema(), [day])
    row = {"file": "orders/a.csv", "row": 3, "kind": "row", "reason": "too few fields", "raw": "<b>4</b>", "ds": day,
           "quarantined_at": at, "size": 1, "version": "v", "modified": at}  # fmt: skip
    platform.lake.write(staging, pa.Table.from_pylist([row], staging.schema))
    platform.lake.publish(staging)
    found = client.get(f"{ROOT}/orders/quarantine", headers=admin).json()
    assert (found["files"], found["records"][0]["raw"]) == ({"orders/a.csv": 1}, "<b>4</b>")
    assert client.get(f"{ROOT}/orders/quarantine", headers=viewer).json()["records"][0]["raw"] == "***"
    run = client.post(f"{ROOT}/orders/quarantine/reload", headers=admin)
    queued = platform.submissions.get(run.json()["run_id"])
    assert run.status_code == 202 and queued and queued.ask == "quarantined"


def test_a_run_of_a_sensor_is_shown_and_retried_in_its_own_workspace(
    client: httpx.Client, platform: Platform
):
    make(client, ORDERS | {"workspace_name": "main"})
    tags = {
        "asgard/source": "orders",
        "dagster/sensor_name": "orders_files",
        "dagster/partition": "2026-10-06",
    }
    instance = platform.ingestion_runs.instance
    run = create_run_for_test(instance, tags=tags, status=dg.DagsterRunStatus.FAILURE)
    [shown] = client.get(f"{ROOT}/orders/runs").json()["runs"]
    assert (shown["run_id"], shown["trigger"], shown["state"]) == (run.run_id, "sensor", "FAILED")
    assert shown["partitions"] == ["2026-10-06"]
    again = client.post(f"{ROOT}/orders/runs/{run.run_id}/retry").json()["run_id"]
    queued = platform.submissions.get(again)
    assert queued and (queued.workspace, queued.partitions, queued.ask) == ("main", "2026-10-06", "failed")
    assert client.get(f"/api/v1/ingestions/other/runs/{run.run_id}").status_code == 404


def test_a_change_takes_no_table_of_another_ingestion(client: httpx.Client, platform: Platform, key: Keys):
    mine, theirs = key("editor", "main"), key("editor", "other")
    make(
        client,
        ORDERS | {"name": "shop_u", "workspace_name": "other", "source": {"path": "other/u"}},
        **theirs,
    )
    shop: dict[str, Any] = DATABASE | {"workspace_name": "main"}
    make(client, shop, **mine)
    more = [*DATABASE["source"]["tables"], {"table": "u", "key": ["id"], "load": {"type": "snapshot"}}]
    wider = shop | {"source": shop["source"] | {"tables": more}}
    body = {name: value for name, value in wider.items() if name != "name"}
    assert client.put(f"{ROOT}/shop", json=body, headers=mine).status_code == 409
    assert client.post(f"{ROOT}/test", json=wider, headers=mine).status_code == 409
    assert loaded(platform) == {"bronze/shop_t", "bronze/shop_u"}
    assert client.put(f"{ROOT}/shop", json=body | {"source": shop["source"]}, headers=mine).status_code == 200


def test_a_trial_tells_nothing_of_the_ingestions_of_others(
    client: httpx.Client, platform: Platform, key: Keys
):
    mine, theirs = key("editor", "main"), key("editor", "other")
    make(client, ORDERS | {"workspace_name": "other", "source": {"path": "other/orders"}}, **theirs)
    landed(platform, "main/a.csv", "id\n1\n")
    body = ORDERS | {"workspace_name": "main", "source": {"path": "main"}}
    for asked in (body, body | {"name": "mine", "source": {"path": "main", "name": "orders"}}):
        for what in ("test", "estimate-cost"):
            assert client.post(f"{ROOT}/{what}", json=asked, headers=mine).status_code in (409, 422)


def test_variables_that_the_settings_read_are_no_secrets_of_a_source(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ASGARD_KAFKA_OPTIONS", '{"sasl.password": "env:KAFKA_PASSWORD", "client.id": "a"}')
    monkeypatch.setenv("ASGARD_SCHEMA_REGISTRY_AUTH", "aws-secret:registry#login")
    for kept in ("env:KAFKA_PASSWORD", "aws-secret:registry#other", "env:OPENLINEAGE_URL"):
        auth = {"type": "bearer", "token": kept}
        sent = client.post(ROOT, json=API | {"source": API["source"] | {"auth": auth}})
        assert sent.status_code == 422 and "own variables" in sent.text, (kept, sent.text)


def test_half_a_character_is_refused(client: httpx.Client):
    body, headers = '{"name": "orders", "source": {"path": "\\ud800"}}', {"Content-Type": "application/json"}
    sent = client.post(ROOT, content=body, headers=headers)
    assert sent.status_code == 422 and "surrogate" in sent.text


def test_the_last_day_of_all_is_no_error_of_the_server(client: httpx.Client):
    make(client)
    sent = client.post(f"{ROOT}/orders/run", json={"partitions": "9999-12-31"})
    assert sent.status_code == 422 and "9999-12-31" in sent.text


@pytest.mark.parametrize(
    "given", [{"tags": {"a b:": "c"}}, {"tags": {"a": "b" * 1000}}, {"owners": ["nobody"]}]
)
def test_what_dagster_refuses_is_told(client: httpx.Client, given: dict[str, Any]):
    sent = client.post(ROOT, json=ORDERS | {"source": {"path": "orders", **given}})
    assert sent.status_code == 422 and next(iter(given)).removesuffix("s") in sent.text
    assert client.get(ROOT).json()["total"] == 0


def test_a_folder_that_is_not_there_yet_is_the_callers_to_make(client: httpx.Client):
    make(client)
    answer = client.post(f"{ROOT}/orders/run", json={"dry_run": True})
    assert answer.status_code == 422 and "create the folder" in answer.json()["detail"], answer.text
