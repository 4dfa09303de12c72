"""What Airbyte's own server does and the local one does not: queues, namespaces, names of folders."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

from asgard_assets.components.airbyte.bronze import landed_name
from asgard_assets.components.airbyte.snapshot import SNAPSHOT, as_synced, namesakes_of, refuse_namesakes
from asgard_assets.errors import ConfigError
from asgard_assets.resources.airbyte import Client, Unreachable, Workspace, beta_accepted, without_login
from tests.checkout import ROOT
from tests.fakes.airbyte import load, write_instance
from tests.fakes.airbyte_instance import reason

COMMITTED = ROOT / "asgard_assets/defs/bronze/airbyte" / SNAPSHOT


class Jobs(ThreadingHTTPServer):
    """Answers of the jobs API: each look at the job is one state further."""

    daemon_threads = True

    def __init__(self, *states: str, refuses: str = "none", conflict: bool = False) -> None:
        self.states, self.looks, self.started = states, 0, conflict
        self.refuses, self.posts = refuses, 0
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def state(self) -> str:
        return self.states[min(self.looks, len(self.states) - 1)]


class Handler(BaseHTTPRequestHandler):
    server: Jobs  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, code: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def job(self) -> dict[str, Any]:
        return {"jobId": 7, "connectionId": "c", "jobType": "sync", "status": self.server.state}

    def do_GET(self) -> None:
        asked = urlparse(self.path)
        if asked.path.endswith("/jobs/7"):
            found = self.job()
            self.server.looks += 1
            return self.answer(200, found)
        [status] = parse_qs(asked.query).get("status", [""])
        if status == self.server.refuses:
            return self.answer(400, {"title": "bad-request"})
        active = self.server.started and status == self.server.state
        return self.answer(200, {"data": [self.job()] if active else [], "next": ""})

    def do_POST(self) -> None:
        self.server.posts += 1
        self.server.started = True
        self.answer(200, self.job())


@pytest.fixture
def serve() -> Iterator[Any]:
    servers: list[Jobs] = []

    def start(*states: str, kind: type[Jobs] = Jobs, **how: Any) -> tuple[Jobs, Client]:
        server = kind(*states, **how)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/api/public/v1"
        with beta_accepted():
            workspace = Workspace(
                workspace_id="w",
                rest_api_base_url=url,
                configuration_api_base_url=url,
                poll_interval=0.01,
                request_retry_delay=0.01,
                poll_previous_running_sync=True,
            )
        return server, workspace.get_client()

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_queued_job_is_followed_to_its_end(serve: Any) -> None:
    server, client = serve("queued", "queued", "running", "succeeded")
    assert client.sync("c")["status"] == "succeeded"
    assert server.posts == 1


def test_a_job_that_is_queued_already_is_adopted(serve: Any) -> None:
    server, client = serve("queued", "running", "succeeded", conflict=True)
    assert client.sync("c")["status"] == "succeeded"
    assert server.posts == 0


def test_a_server_that_knows_no_queue_is_asked_all_the_same(serve: Any) -> None:
    _, client = serve("running", "succeeded", refuses="queued")
    assert client.sync("c")["status"] == "succeeded"


class Queue(Jobs):
    """One job at a time runs, the others wait. A second job of one kind is refused (409), as Airbyte refuses it."""

    def __init__(self, *ahead: str, lost_answers: int = 0) -> None:
        super().__init__()
        self.RequestHandlerClass = QueueHandler
        self.jobs = [{"jobId": n, "jobType": kind, "looks": 0} for n, kind in enumerate(ahead, 1)]
        self.lost_answers = lost_answers

    def told(self, job: dict[str, Any]) -> dict[str, Any]:
        waits = any(each["looks"] < 3 for each in self.jobs if each["jobId"] < job["jobId"])
        status = "queued" if waits else "succeeded" if job["looks"] >= 3 else "running"
        return {name: job[name] for name in ("jobId", "jobType")} | {"connectionId": "c", "status": status}


class QueueHandler(Handler):
    server: Queue  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        asked, told = urlparse(self.path), self.server.told
        number = asked.path.rpartition("/jobs/")[2]
        for job in self.server.jobs:
            job["looks"] += told(job)["status"] == "running"  # time passes with each question
        if number.isdecimal():
            return self.answer(200, told(self.server.jobs[int(number) - 1]))
        [wanted] = parse_qs(asked.query).get("status", [""])
        found = [job for job in map(told, self.server.jobs) if not wanted or job["status"] == wanted]
        return self.answer(200, {"data": found, "next": ""})

    def do_POST(self) -> None:
        self.server.posts += 1
        told, kind = self.server.told, "sync"
        if any(
            job["status"] != "succeeded" and job["jobType"] == kind for job in map(told, self.server.jobs)
        ):
            return self.answer(409, {"title": "state-conflict", "detail": "A sync is already running"})
        self.server.jobs.append({"jobId": len(self.server.jobs) + 1, "jobType": kind, "looks": 0})
        if self.server.lost_answers:
            self.server.lost_answers -= 1
            self.close_connection = True  # heard, and never answered
            return None
        return self.answer(200, told(self.server.jobs[-1]))


@pytest.mark.parametrize("ahead", [(), ("refresh",), ("clear", "refresh")])
def test_a_start_whose_answer_is_lost_and_is_then_refused_is_found_again(
    serve: Any, ahead: tuple[str, ...]
) -> None:
    server, client = serve(*ahead, kind=Queue, lost_answers=1)
    done = client.sync("c")
    assert (done["jobType"], done["status"]) == ("sync", "succeeded")
    assert [job["jobType"] for job in server.jobs] == [*ahead, "sync"]


def test_a_sync_that_waits_behind_others_is_followed_and_no_other_started(serve: Any) -> None:
    server, client = serve("refresh", "sync", kind=Queue)
    assert client.sync("c")["jobId"] == 2
    assert (server.posts, len(server.jobs)) == (0, 2)


def test_no_other_job_than_a_sync_is_taken_for_one(serve: Any) -> None:
    server, client = serve("sync", "clear", kind=Queue)
    done = client.sync("c")
    assert done["jobType"] == "sync" and done["status"] == "succeeded" and len(server.jobs) == 3


def stream(name: str, namespace: str | None, selected: bool = True) -> dict[str, Any]:
    return {"stream": {"name": name, "namespace": namespace}, "config": {"selected": selected}}


def test_streams_of_one_name_in_two_namespaces_are_refused_by_name() -> None:
    streams = [
        stream("users", "shop"),
        stream("users", "crm"),
        stream("users", "old", False),
        stream("one", None),
    ]
    found = namesakes_of({"syncCatalog": {"streams": streams}})
    assert found == {"users": ["crm", "shop"]}
    with pytest.raises(ConfigError, match="connection pg has crm.users and shop.users: .* a prefix"):
        refuse_namesakes("pg", found)
    refuse_namesakes("pg", namesakes_of({"syncCatalog": {"streams": streams[1:]}}))


def test_fields_that_a_connection_leaves_out_are_no_columns() -> None:
    schema = {"type": "object", "properties": {"id": {"type": "integer"}, "email": {"type": "string"}}}
    config = {"selected": True, "fieldSelectionEnabled": True, "selectedFields": [{"fieldPath": ["id"]}]}
    details = {
        "connectionId": "c",
        "syncCatalog": {"streams": [{"stream": {"name": "users", "jsonSchema": schema}, "config": config}]},
    }
    [one] = as_synced(details)["syncCatalog"]["streams"]
    assert one["stream"]["jsonSchema"]["properties"] == {"id": {"type": "integer"}}
    config["fieldSelectionEnabled"] = False
    assert as_synced(details) == details


def test_a_connection_without_a_catalog_has_no_streams() -> None:
    assert as_synced({"connectionId": "c", "syncCatalog": None})["syncCatalog"] == {"streams": []}


def test_a_snapshot_with_namesakes_does_not_load(tmp_path: Any) -> None:
    content = json.loads(COMMITTED.read_text())
    for more in content["connections"].values():
        more["namesakes"] = {"users": ["crm", "shop"]}
    folder = write_instance(tmp_path / "airbyte", content["workspace_id"])
    (folder / SNAPSHOT).write_text(json.dumps(content))
    with pytest.raises(Exception) as error:  # noqa: B017, PT011  Dagster wraps it in a class of its own
        load(folder)
    assert "crm.users and shop.users" in str(reason(error.value))


@pytest.mark.parametrize(
    ("stream_name", "folder"),
    [
        ("issue-comments", "issue-comments"), ("public.users", "public.users"), ("Orders (EU)", "Orders_(EU)"),
        ("Ümsätze", "Umsatze"), ("a b#c%d", "a_b_c_d"), ("naïve/été", "naive/ete"), ("数字", "__"), ("users", "users"),
    ],
)  # fmt: skip
def test_a_stream_s_folder_is_the_one_that_airbyte_writes(stream_name: str, folder: str) -> None:
    assert landed_name(stream_name) == folder


def test_a_login_in_the_address_is_in_no_message() -> None:
    url = "http://svc:pass-1@127.0.0.1:1/api/public/v1"
    with beta_accepted():
        client = Workspace(
            workspace_id="w", rest_api_base_url=url, configuration_api_base_url=url, request_max_retries=0
        ).get_client()
    with pytest.raises(Unreachable) as error:
        client.active_jobs("c")
    assert "pass-1" not in str(error.value.description) + client.job_url("c", 1)
    assert without_login("at http://u:p@h/x and https://k@h2") == "at http://h/x and https://h2"
