"""`dagster dev` with Airbyte down: the location loads from the committed snapshot and asks nobody."""

from __future__ import annotations

import json
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from asgard_assets.resources.home import prepare_home
from asgard_assets.settings import Settings
from tests.end_to_end.homes import Home, free_port
from tests.patience import ended, patience, wait_until

ASSETS = "{ assetNodes { assetKey { path } } workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } } }"
RELOAD = 'mutation { reloadRepositoryLocation(repositoryLocationName: "%s") { __typename } }'


@contextmanager
def nobody() -> Iterator[tuple[str, list[Any]]]:
    """An address at which nobody answers, and who called there."""
    callers: list[Any] = []
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()

        def listen() -> None:
            while True:
                try:
                    caller, address = door.accept()
                except OSError:
                    return
                callers.append(address)
                caller.close()

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}", callers
        door.shutdown(socket.SHUT_RDWR)


@pytest.mark.servers
@pytest.mark.timeout(600)
def test_the_location_loads_and_reloads_under_dagster_dev_with_airbyte_down(tmp_path: Path, monkeypatch):
    home, port = Home(tmp_path), free_port()
    monkeypatch.setenv("ASGARD_HOME", str(tmp_path))
    prepare_home(Settings())

    def ask(query: str) -> Any:
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=patience(60)) as answer:
            return json.load(answer)["data"]

    def assets() -> set[str]:
        try:
            found = ask(ASSETS)
        except (urllib.error.URLError, OSError):
            return set()
        return {"/".join(node["assetKey"]["path"]) for node in found["assetNodes"]}

    expected = {"airbyte/users", "airbyte/products", "airbyte/purchases", "bronze/users"}
    with nobody() as (url, callers):
        dev = home.start("dagster", "dev", "-w", "workspace.yaml", "-p", str(port), ASGARD_AIRBYTE_URL=url)
        try:
            wait_until(lambda: expected <= assets(), 300, "`dagster dev` shows the streams")
            (entry,) = ask(ASSETS)["workspaceOrError"]["locationEntries"]
            assert entry["loadStatus"] == "LOADED"
            ask(RELOAD % entry["name"])
            wait_until(lambda: expected <= assets(), 300, "the streams are there after a reload")
        finally:
            ended(dev, 60, signal.SIGINT, group=True)
        assert callers == [], "loading asked Airbyte"
