"""Answers of the API: the door, problems, ingestion and transforms, without a server or Spark."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pyarrow as pa
import pytest
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from asgard_assets.errors import ConfigError
from asgard_assets.gateway.platform import Platform
from asgard_assets.gateway.serve import JsonLines, refuse_open
from asgard_assets.settings import Settings

CANARY = "canary-5be1d0"
SQL = "SELECT customer_id, SUM(amount) as total_amount FROM source_data GROUP BY customer_id"


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), (
        answer.text
    )
    found = answer.json()
    assert found["request_id"] == answer.headers["x-request-id"]
    return found


def test_health_says_that_it_lives_and_whether_it_is_ready(client: httpx.Client):
    assert client.get("/health").json()["status"] == "healthy"
    assert client.get("/health/ready").status_code == 200


def test_every_error_is_a_problem_that_says_what_to_do(client: httpx.Client):
    assert "GET /docs" in problem(client.get("/nothing"), 404)["detail"]
    assert "GET /docs" in problem(client.delete("/sink"), 405)["detail"]
    assert problem(client.post("/transform", json={"query": "x"}), 422)["errors"][0]["field"] == "sql"
    problem(client.post("/transform", content=b"{", headers={"Content-Type": "application/json"}), 422)
    problem(client.post("/transform", content=b"x" * (5 << 20)), 413)


def test_an_error_of_the_server_is_a_500_that_tells_nothing(app: FastAPI, platform: Platform):
    def broken() -> None:
        raise RuntimeError(CANARY)

    app.add_api_route("/broken", broken)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        assert CANARY not in json.dumps(problem(client.get("/broken"), 500))


def test_a_database_that_is_away_is_a_503_that_says_so(
    app: FastAPI, accounts: Any, key: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def away(*_: Any) -> None:
        raise OperationalError("select 1", {}, Exception(f"could not connect, password {CANARY}"))

    headers = key("editor")
    app.add_api_route("/broken", lambda: away())
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        assert "does not answer" in problem(client.get("/broken", headers=headers), 503)["detail"]
        monkeypatch.setattr(accounts, "note", away)
        made = client.post("/sink", json={"name": "s", "config": {"bucket_name": "b"}}, headers=headers)
        assert made.status_code == 201 and "not in the audit log: POST /sink 201 by editor-0" in caplog.text
        monkeypatch.setattr(accounts, "caller", away)
        answer = client.get("/sink", headers={"Authorization": "Bearer other"})
        assert CANARY not in json.dumps(problem(answer, 503))
        assert client.get("/health").status_code == 200


def test_a_request_id_is_kept_and_a_strange_one_is_not(client: httpx.Client):
    assert client.get("/health", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert client.get("/health", headers={"X-Request-ID": "a b"}).headers["x-request-id"] != "a b"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8000"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_web_page_does_not_get_in(client: httpx.Client, headers: dict[str, str]):
    for path in ("/health", "/datasource", "/docs"):
        problem(client.get(path, headers=headers), 403)


def test_the_page_of_the_api_itself_gets_in(client: httpx.Client):
    headers = {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}
    assert client.get("/datasource", headers=headers).status_code == 200


def test_an_answer_that_is_known_already_is_not_sent_again(client: httpx.Client):
    tag = client.get("/sink").headers["etag"]
    again = client.get("/sink", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    client.post("/sink", json={"name": "s", "config": {"bucket_name": "b"}})
    assert client.get("/sink", headers={"If-None-Match": tag}).status_code == 200


def test_secrets_are_taken_and_never_shown(
    client: httpx.Client, memory: Any, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    config = {"count": 3, "password": CANARY, "api_key": CANARY}
    said = client.post(
        "/datasource", json={"source_type": "faker", "name": "f", "source_config": config}
    ).text
    keys = {"s3_bucket_name": "b", "aws_access_key_id": CANARY, "aws_secret_access_key": CANARY}
    said += client.post("/sink", json={"name": "s", "destination_config": keys}).text
    said += client.post("/sink", json={"name": "s", "destination_config": {**keys, "secret": CANARY}}).text
    said += client.post("/datasource", json={"source_type": CANARY * 9, "name": CANARY, "x": CANARY}).text
    said += client.get("/datasource").text + client.get("/sink").text
    assert CANARY not in said + caplog.text
    assert CANARY in json.dumps(memory.sent)


def test_a_source_without_a_connector_is_not_built_yet(client: httpx.Client):
    body = {
        "source_type": "mongodb",
        "workspace_name": "default",
        "source_config": {
            "host": "localhost",
            "port": 5432,
            "username": "user",
            "password": "password",
            "database": "mydb",
        },
        "name": "My Postgres Source",
    }
    assert "AIRBYTE_BASE_URL" in problem(client.post("/datasource", json=body), 501)["detail"]


@pytest.mark.parametrize(
    "config",
    [
        {"base_url": "file:///etc/passwd", "streams": {"a": {"path": "/a"}}},
        {"base_url": "http://user:word@api.example.com", "streams": {"a": {"path": "/a"}}},
        {"base_url": "http://{{ config['x'] }}", "streams": {"a": {"path": "/a"}}},
        {"base_url": "http://api.example.com", "streams": {"a": {"path": "/{% x %}"}}},
        {"base_url": "http://api.example.com", "streams": {"../a": {"path": "/a"}}},
        {"base_url": "http://api.example.com", "streams": {}},
        {"base_url": "http://api.example.com", "streams": {"a": {"path": "/a", "class_name": "os.system"}}},
    ],
)
def test_an_api_source_takes_no_template_class_or_file(client: httpx.Client, config: dict[str, Any]):
    body = {"source_type": "api", "name": "a", "source_config": config}
    assert "source_config" in problem(client.post("/datasource", json=body), 422)["detail"]


@pytest.mark.parametrize("path", ["../x", "/etc/../x", "a b", "${HOME}", "a/./b", "x" * 600])
def test_a_bucket_path_that_leads_elsewhere_is_refused(client: httpx.Client, path: str):
    body = {"name": "s", "destination_config": {"s3_bucket_name": "b", "s3_bucket_path": path}}
    problem(client.post("/sink", json=body), 422)


def test_what_does_not_exist_is_404(client: httpx.Client, sink: dict[str, Any]):
    source = client.get("/datasource").json()["datasources"][0]["source_id"]
    given = {"source_id": source, "destination_id": sink["destination_id"]}
    for change in ({"source_id": "x"}, {"destination_id": "x"}, {"workspace_name": "nowhere"}):
        problem(client.post("/ingestion", json=given | change), 404)
    problem(client.get("/sink?workspace_name=nowhere"), 404)
    for path in (
        "/ingestion/x/status",
        "/ingestion/..%2fsources/status",
        "/transform/0badc0de/status",
        "/transform/..%2fx/logs",
    ):
        problem(client.get(path), 404)


def test_a_transform_without_a_sink_is_404(client: httpx.Client):
    assert "POST /sink" in problem(client.post("/transform", json={"sql": SQL}), 404)["detail"]


@pytest.mark.parametrize("cron", ["x", "* * * *", "61 * * * *", "@daily", "* * * * * *", "0 0 * * *; rm"])
def test_a_schedule_that_is_none_is_refused(client: httpx.Client, sink: dict[str, Any], cron: str):
    source = client.get("/datasource").json()["datasources"][0]["source_id"]
    given = {"source_id": source, "destination_id": sink["destination_id"], "schedule": cron}
    problem(client.post("/ingestion", json=given), 422)


def test_a_schedule_says_when_it_is_due_next(client: httpx.Client, sink: dict[str, Any]):
    source = client.get("/datasource").json()["datasources"][0]["source_id"]
    given = {"source_id": source, "destination_id": sink["destination_id"], "schedule": "0 3 * * 1"}
    made = client.post("/ingestion", json=given).json()
    assert made["schedule"] == "0 0 3 ? * 1"
    due = client.get(f"/ingestion/{made['connection_id']}/status").json()
    assert due["next_sync"][11:16] == "03:00" and due["last_sync"]


def test_a_transform_reads_the_first_stream_as_source_data(
    client: httpx.Client, sink: dict[str, Any], platform: Platform
):
    made = client.post("/transform", json={"sql": SQL})
    assert (made.status_code, made.json()["status"]) == (202, "submitted"), made.text
    run = made.json()["run_id"]
    status = client.get(f"/transform/{run}/status").json()
    assert (status["state"], status["executor_count"], status["spark_application"]) == (
        "SUBMITTED",
        2,
        f"sql-exec-{run}",
    )
    from asgard_assets.transforms.managed import newest

    [revision] = newest(platform.lake)
    assert [(view.name, view.folder) for view in revision.transform.reads] == [
        ("source_data", "data-lake/bronze/orders")
    ]


def test_a_request_may_name_the_folder_that_it_reads(
    client: httpx.Client, sink: dict[str, Any], platform: Platform
):
    from asgard_assets.transforms.managed import newest

    body = {"sql": "select * from source_data", "source_path": "s3a://data-lake/bronze/customers/"}
    assert client.post("/transform", json=body).status_code == 202
    [revision] = newest(platform.lake)
    assert revision.transform.reads[0].folder == "data-lake/bronze/customers"


def test_three_routes_are_one_operation(client: httpx.Client, sink: dict[str, Any]):
    for prefix in ("/transform", "/spark/transform", "/transformation"):
        made = client.post(
            prefix, json={"sql": "select * from customers", "output_table": "iceberg.silver.cleaned"}
        ).json()
        assert made["output_table"] == "silver.cleaned" and made["revision"] == 1
        assert client.get(f"{prefix}/{made['run_id']}/status").status_code == 200
    assert client.get("/transform/jobs").json()["total"] == 3
    assert client.get("/transform/jobs?limit=2").json()["total"] == 2
    assert client.get("/transform/jobs?status_filter=COMPLETED").json()["total"] == 0
    problem(client.get("/transform/jobs?status_filter=DONE"), 422)
    problem(client.get("/transform/jobs?limit=0"), 422)


def test_one_idempotency_key_starts_one_run(client: httpx.Client, sink: dict[str, Any]):
    def send(sql: str, key: str) -> httpx.Response:
        return client.post("/transform", json={"sql": sql}, headers={"Idempotency-Key": key})

    first = send("select * from orders", "k").json()["run_id"]
    assert send("select * from orders", "k").json()["run_id"] == first
    assert send("select * from orders", "k2").json()["run_id"] != first
    problem(send("select * from customers", "k"), 409)


def test_a_table_of_the_projects_own_files_is_not_overwritten(client: httpx.Client, platform: Platform):
    lake, rows = platform.lake, pa.table({"n": [1]})
    staging = lake.stage("silver", "usage", rows.schema)
    lake.write(staging, rows)
    lake.publish(staging)
    body = {"sql": "select n from silver.usage", "output_table": "silver.usage"}
    assert "own files" in problem(client.post("/transform", json=body), 409)["detail"]
    assert client.post("/transform", json={**body, "output_table": "silver.usage_2"}).status_code == 202


@pytest.mark.parametrize(
    "change",
    [
        {"sql": "drop table silver.usage"},
        {"sql": "select * from nowhere.table"},
        {"sql": "select * from unknown_stream"},
        {"output_table": "bronze.x"},
        {"output_table": "silver.x/../../y"},
        {"output_table": "silver.X; drop"},
        {"write_mode": "merge"},
        {"executor_memory": "8 GB; rm"},
        {"executor_instances": 0},
        {"source_path": "../../etc"},
        {"source_path": "data-lake/bronze/../../x"},
        {"source_path": "data-lake/bronze2/orders"},
        {"source_path": "usage"},
        {"source_path": "s3://bucket/$(x)"},
        {"workspace_name": ""},
    ],
)
def test_a_transform_that_cannot_be_one_leaves_nothing(
    client: httpx.Client, sink: dict[str, Any], platform: Platform, change: dict[str, Any]
):
    problem(client.post("/transform", json={"sql": "select * from orders", **change}), 422)
    assert client.get("/transform/jobs").json()["total"] == 0
    assert platform.lake.names("_managed/transforms") == []


def test_figures_for_prometheus(client: httpx.Client, sink: dict[str, Any]):
    client.post("/transform", json={"sql": "select * from orders"})
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'asgard_transforms{state="submitted"} 1.0' in answer.text
    assert 'asgard_metrics_unread{part="lake"} 0.0' in answer.text


def test_a_log_line_is_json_with_what_was_asked(client: httpx.Client, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "asgard.access")
    client.get("/sink?workspace_name=default", headers={"X-Request-ID": "r-1"})
    told = json.loads(JsonLines().format(caplog.records[-1]))
    assert (told["request_id"], told["method"], told["path"], told["status"], told["account"]) == (
        "r-1", "GET", "/sink", 200, "local",
    )  # fmt: skip


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("ASGARD_PARTITION_START", "2026-01-01")
    yield Settings(env="production")


def test_without_accounts_it_serves_this_machine_alone(production: Settings):
    refuse_open(Settings(), "127.0.0.1", accounts=False)
    with pytest.raises(ConfigError, match="127.0.0.1 alone"):
        refuse_open(Settings(), "0.0.0.0", accounts=False)  # noqa: S104
    with pytest.raises(ConfigError, match="production needs accounts"):
        refuse_open(production, "127.0.0.1", accounts=False)
    refuse_open(production, "0.0.0.0", accounts=True)  # noqa: S104


def test_a_method_that_is_not_possible_is_answered_with_all_that_are(client: httpx.Client):
    for path, allowed in (("/datasource", "GET, POST"), ("/api/v1/ingestions/x", "DELETE, GET, PUT")):
        answer = client.request("PATCH", path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
