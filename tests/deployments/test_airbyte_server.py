"""The development server as a process of its own, with the real source-faker, driven through Dagster."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings
from deployments.local.airbyte.install import CONNECTORS, command, environment, install
from tests.checkout import ROOT
from tests.fakes.airbyte import Fake, load
from tests.patience import ended, patience

BUSY = {"count": 2_000_000, "seed": 1, "parallelism": 2}
PUBLIC = "/api/public/v1"


class Server:
    """The server's process, on a free port unless `url` says where, with its folders in `folder`."""

    def __init__(self, folder: Path, *arguments: str, url: str = "") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = url or f"http://127.0.0.1:{free.getsockname()[1]}"
        self.landing, self.state, self.log = folder / "landing" / "airbyte", folder / "state", folder / "log"
        command = [
            sys.executable,
            "-m",
            "deployments.local.airbyte.server",
            "--port",
            self.url.rsplit(":", 1)[1],
        ]
        command += ["--landing", str(self.landing), "--state", str(self.state), "--date", "2026-10-05"]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen([*command, *arguments], cwd=ROOT, stdout=output, stderr=output)
        until(self._answers, 60)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self.bearer(), method=method)
        with urllib.request.urlopen(request, timeout=patience(30)) as answer:
            return json.load(answer)

    def token(self) -> str:
        path = Settings().local_airbyte_token(self.url)
        assert path is not None
        return path.read_text() if path.exists() else ""

    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token()}"}

    def job(self, job_id: int) -> dict[str, Any]:
        return self.call("GET", f"{PUBLIC}/jobs/{job_id}")

    def rows(self, stream: str) -> list[dict[str, Any]]:
        found = []
        for path in sorted((self.landing / stream).glob("*.jsonl.gz")):
            with gzip.open(path) as file:
                found += [json.loads(line) for line in file]
        return found

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.call("GET", "/health")["available"]
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def running(folder: Path, *arguments: str, url: str = "") -> Iterator[Server]:
    server = Server(folder, *arguments, url=url)
    try:
        yield server
    finally:
        ended(server.process)


def until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + patience(seconds)
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.05)


def descendants(pid: int) -> dict[int, str]:
    """Every process below `pid`, with its command line."""
    found: dict[int, str] = {}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in map(int, children):
            try:
                found[child] = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
            found |= descendants(child)
    return found


def connector(server: Server) -> int:
    """Process number of the running source-faker itself: neither its leash nor its workers."""
    mine = {p: c for p, c in descendants(server.process.pid).items() if "source-faker read" in c}
    mine = {p: c for p, c in mine.items() if "leash.py" not in c}
    return min(mine, default=0)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def busy_workspace(folder: Path) -> list[str]:
    """Arguments for a server whose only connection takes minutes."""
    connection = {"name": "busy", "source": "source-faker", "config": BUSY, "streams": [{"name": "users"}]}
    (folder / "busy.yaml").write_text(yaml.safe_dump({"name": "busy", "connections": [connection]}))
    return ["--workspace", str(folder / "busy.yaml")]


def start_busy_sync(server: Server) -> int:
    (connection,) = server.call("GET", f"{PUBLIC}/connections")["data"]
    body = {"connectionId": connection["connectionId"], "jobType": "sync"}
    job = server.call("POST", f"{PUBLIC}/jobs", body)["jobId"]
    until(lambda: list(server.landing.glob(".sync-*/users*.jsonl.gz")))
    return job


@pytest.fixture
def definitions(tmp_path: Path) -> list[Any]:
    instance = ROOT / "asgard_assets" / "defs" / "bronze" / "airbyte"
    assets = load(shutil.copytree(instance, tmp_path / "instance" / "airbyte")).assets or []
    # The Bronze tables of the streams want Spark and a lake; here only the syncs run.
    return [asset for asset in assets if {key.path[0] for key in asset.keys} == {"airbyte"}]  # type: ignore[union-attr]


@pytest.mark.servers
def test_a_sync_through_dagster_lands_files_and_a_second_one_doubles_nothing(
    tmp_path, monkeypatch, definitions
):
    with running(tmp_path) as server, dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", server.url)
        for generation in (1, 2):
            chosen = dg.AssetSelection.assets(["airbyte", "users"])
            result = dg.materialize(definitions, instance=instance, selection=chosen)
            assert result.success
            event = instance.get_latest_materialization_event(dg.AssetKey(["airbyte", "users"]))
            assert event is not None and event.asset_materialization is not None
            metadata = event.asset_materialization.metadata
            assert metadata["dagster/row_count"].value == 800 and metadata["bytes"].value > 100_000
            users = server.rows("users")
            assert sorted(row["id"] for row in users) == list(range(1, 801))
            assert {row["_airbyte_generation_id"] for row in users} == {generation}
        assert len(server.rows("products")) == 100
        assert {row["user_id"] for row in server.rows("purchases")} <= set(range(1, 801))
        (path,) = (server.landing / "users").iterdir()
        assert path.name.startswith("2026_10_05_") and path.name.endswith("_0.jsonl.gz")
        assert "development server" in server.call("GET", "/")["server"]
        assert "is not Airbyte" in server.log.read_text()


@pytest.mark.servers
def test_the_snapshot_in_the_repository_is_what_the_server_gives(tmp_path, monkeypatch):
    from asgard_assets.components.airbyte import refresh_snapshot

    with running(tmp_path) as server:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", server.url)
        assert refresh_snapshot(write=False) == ""


@pytest.mark.servers
def test_killing_the_connector_fails_its_job_with_the_reason_and_lands_nothing(tmp_path):
    with running(tmp_path, *busy_workspace(tmp_path)) as server:
        job = start_busy_sync(server)
        os.kill(connector(server), signal.SIGKILL)
        until(lambda: server.job(job)["status"] == "failed")
        details = server.call("POST", "/api/v1/jobs/get", {"id": job})
        (failure,) = details["attempts"][0]["attempt"]["failureSummary"]["failures"]
        assert "source-faker: killed by SIGKILL" in failure["externalMessage"]
        assert not list(server.landing.iterdir())
        until(lambda: not descendants(server.process.pid))


@pytest.mark.servers
def test_cancelling_ends_the_connector_with_its_workers(tmp_path):
    with running(tmp_path, *busy_workspace(tmp_path)) as server:
        job = start_busy_sync(server)
        assert server.call("DELETE", f"{PUBLIC}/jobs/{job}")["status"] == "cancelled"
        until(lambda: not descendants(server.process.pid))
        assert not list(server.landing.iterdir())


@pytest.mark.servers
def test_a_killed_server_leaves_no_process_and_no_half_sync_and_takes_its_job_up_again(tmp_path):
    server = Server(tmp_path, *busy_workspace(tmp_path))
    job = start_busy_sync(server)
    left = descendants(server.process.pid)
    assert len(left) > 2
    server.process.kill()
    server.process.wait()
    until(lambda: not any(alive(pid) for pid in left))
    assert not list((server.landing / "users").glob("*"))
    with running(tmp_path, *busy_workspace(tmp_path)) as again:
        assert again.job(job)["status"] in ("pending", "running")
        until(lambda: list(again.landing.glob(".sync-*/users*")))
        assert again.call("DELETE", f"{PUBLIC}/jobs/{job}")["status"] == "cancelled"
        until(lambda: not descendants(again.process.pid))
        assert not list(again.landing.iterdir())


@pytest.mark.servers
def test_the_server_ends_with_its_parent(tmp_path):
    parent = subprocess.Popen(["sleep", "600"])
    server = Server(tmp_path, "--parent", str(parent.pid))
    parent.kill()
    parent.wait()
    assert server.process.wait(patience(20)) == 0


@pytest.mark.servers
def test_the_connectors_are_installed_once_and_work_from_where_they_were_moved_to(tmp_path):
    home = install(tmp_path)
    assert home == environment(tmp_path)
    assert [path.name for path in home.parent.iterdir()] == [home.name]
    stamp = home.stat().st_mtime_ns
    assert install(tmp_path) == home and home.stat().st_mtime_ns == stamp
    for name in CONNECTORS:
        script = (home / "bin" / name).read_text()
        assert str(tmp_path) not in script
    out = subprocess.run([home / "bin" / "source-faker", "spec"], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout)["type"] == "SPEC"


def test_any_installed_source_is_found_and_a_missing_one_says_how_to_get_it(tmp_path, monkeypatch):
    for folder in ("given", "path"):
        (tmp_path / folder).mkdir()
        script = tmp_path / folder / f"source-{folder}"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    given = (tmp_path / "given",)
    assert command("source-given", folders=given) == tmp_path / "given" / "source-given"
    assert command("source-path", folders=given) == tmp_path / "path" / "source-path"
    with pytest.raises(ConfigError, match="source-nobody is not installed.*--connectors"):
        command("source-nobody", folders=given)
    with pytest.raises(ConfigError, match="no connector's name"):
        command("source-../../bin/sh", folders=given)


@pytest.mark.servers
def test_a_connector_from_another_folder_is_connected_through_the_api_and_synced(tmp_path):
    Fake(tmp_path)  # leaves its command in the folder
    (tmp_path / "empty.yaml").write_text("name: empty\nconnections: []\n")
    arguments = ["--workspace", str(tmp_path / "empty.yaml"), "--connectors", str(tmp_path)]
    with running(tmp_path, *arguments) as server:
        (workspace,) = server.call("GET", f"{PUBLIC}/workspaces")["data"]
        known = {"workspaceId": workspace["workspaceId"], "name": "fake"}
        source = server.call(
            "POST", f"{PUBLIC}/sources", {**known, "configuration": {"sourceType": "fake", "rows": 2}}
        )
        destination = server.call(
            "POST", f"{PUBLIC}/destinations", {**known, "configuration": {"destinationType": "s3"}}
        )
        body = {"sourceId": source["sourceId"], "destinationId": destination["destinationId"]}
        connection = server.call("POST", f"{PUBLIC}/connections", body)
        assert [s["name"] for s in connection["configurations"]["streams"]] == ["users", "orders"]
        started = {"connectionId": connection["connectionId"], "jobType": "sync"}
        job = server.call("POST", f"{PUBLIC}/jobs", started)["jobId"]
        until(lambda: server.job(job)["status"] == "succeeded")
        assert [row["id"] for row in server.rows("users")] == [1, 2]
