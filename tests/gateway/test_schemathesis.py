"""Schemathesis on the published OpenAPI: for a minute, in `make soak` for an hour, no request is an error of the server.

An exception that nobody expected counts as one, whatever status it was answered with: the log holds its traceback.
Half of the ids are those of things that are there.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import schemathesis
import uvicorn
from fastapi import FastAPI
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema

from asgard_assets.gateway.platform import Platform
from tests.end_to_end.homes import free_port, listens
from tests.gateway.conftest import Keys
from tests.gateway.routes import things
from tests.patience import patience, wait_until

ERRORS = frozenset((500, 502, 503, 504))
SQL = [
    "select 1 as n",
    "select * from orders",
    "create temporary view v as select * from source_data; select count(*) as n from v",
    "select * from gold.mine",
    "select * from read_parquet('/etc/passwd')",
    "select 1 as n; drop table x",
]
KNOWN = {
    "body.sql": SQL,
    "body.sql_query": SQL,
    "body.output_table": ["gold.mine", "silver.new", "iceberg.gold.new", "gold.x' or 1=1 --"],
    "body.workspace_name": ["default", "main"],
    "body.source_type": ["faker", "api", "postgres", "mysql", "kafka", "mongodb"],
    "body.model_name": ["mine"],
    "body.source.table_name": ["mine", "gold.mine", "../mine"],
    "body.cluster": ["local"],
    "body.name": ["mine", "mine_too", "new"],
    "query.filter": ["x:ge:1", "id:eq:x", "x:like:", "id:in:1|2"],
    "query.columns": ["id,x", "id,nothing", "*"],
}


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The app on a port of this machine; its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: listens(port), 60, "the app answers")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


def config(headers: dict[str, str], known: dict[str, list[str]], seconds: int) -> SchemathesisConfig:
    half = {name: {"dictionary": name.replace(".", "_"), "probability": 0.5} for name in known}
    return SchemathesisConfig.from_dict(
        {
            "seed": 20,
            "max-time": seconds,
            "continue-on-failure": True,
            "headers": headers,
            "dictionaries": {name.replace(".", "_"): {"values": values} for name, values in known.items()},
            "parameters": half,
            "generation": {"database": "none", "no-shrink": True},
            "checks": {
                "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "501"]},
                # The schema cannot say which SQL may run, or which folder holds files.
                "positive_data_acceptance": {"enabled": False},
            },
        }
    )


def send(address: str, made: SchemathesisConfig, headers: dict[str, str]) -> tuple[Counter[Any], list[str]]:
    """(answers by operation and status, what schemathesis found wrong)."""
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json", config=made, headers=headers)
    answers, wrong = Counter[Any](), list[str]()
    for event in from_schema(schema).execute():
        if (error := getattr(event, "info", None)) is not None:
            wrong.append(f"{getattr(event, 'label', '')}: {error}")
        recorder = getattr(event, "recorder", None)
        for one in recorder.interactions.values() if recorder else ():
            if one.response is not None:
                answers[recorder.label, one.response.status_code] += 1
        for checks in recorder.checks.values() if recorder else ():
            failed = [check for check in checks if check.failure_info]
            wrong += [
                f"{check.name}: {check.failure_info.failure}\n{check.failure_info.code_sample}"
                for check in failed
            ]
    return answers, wrong


def look(
    platform: Platform, app: FastAPI, key: Keys, caplog: pytest.LogCaptureFixture, seconds: int
) -> Counter[Any]:
    admin = key("admin")
    with served(app) as address:
        with httpx.Client(base_url=address, timeout=patience(60), trust_env=False) as client:
            there = things(platform, client, admin)
        names = {name for one in there.values() for name in one}
        ids = {f"path.{name}": sorted({one[name] for one in there.values() if name in one}) for name in names}
        answers, wrong = send(address, config(admin, KNOWN | ids, seconds), admin)
    unexpected = [record for record in caplog.records if record.exc_info]
    assert not unexpected, "\n".join(caplog.handler.format(record) for record in unexpected[:3])
    assert not [one for one in answers if one[1] in ERRORS]
    assert not wrong, "\n\n".join(wrong[:5])
    return answers


def test_for_a_minute_no_request_is_an_error_of_the_server(
    platform: Platform, app: FastAPI, key: Keys, caplog: pytest.LogCaptureFixture
):
    answers = look(platform, app, key, caplog, 60)
    assert {status for _, status in answers} >= {200, 404, 422}


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_for_an_hour_no_request_is_an_error_of_the_server(
    platform: Platform, app: FastAPI, key: Keys, caplog: pytest.LogCaptureFixture
):
    answers = look(platform, app, key, caplog, 3600)
    paths = app.openapi()["paths"]
    every = {f"{method.upper()} {path}" for path, found in paths.items() for method in found}
    assert {label for label, _ in answers} >= every
