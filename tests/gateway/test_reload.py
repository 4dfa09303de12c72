"""An ingestion that is made while Dagster runs is there a moment later: its asset, its sensor, and its data."""

from __future__ import annotations

import json
import signal
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from asgard_assets.operations.autoloader.reload import Reloader
from asgard_assets.settings import Settings
from tests.end_to_end.homes import Home, free_port, listens
from tests.patience import ended, patience, wait_until

ASKED = '{assetNodes {assetKey {path}} sensorsOrError(repositorySelector: {repositoryLocationName: "asgard_assets", repositoryName: "__repository__"}) {... on Sensors {results {name}}}}'


def known(ui: str) -> set[str]:
    """Assets and sensors of the code location that Dagster has loaded."""
    request = urllib.request.Request(f"{ui}/graphql", json.dumps({"query": ASKED}).encode(), {"Content-Type": "application/json"})  # fmt: skip
    with urllib.request.urlopen(request, timeout=patience(60)) as answer:
        told: dict[str, Any] = json.load(answer)["data"]
    sensors = told["sensorsOrError"].get("results", ())
    return {"/".join(each["assetKey"]["path"]) for each in told["assetNodes"]} | {
        each["name"] for each in sensors
    }


@pytest.mark.servers
@pytest.mark.timeout(900)
def test_dagster_loads_a_new_ingestion_and_its_sensor_loads_the_files(tmp_path: Path):
    home, port, api = Home(tmp_path / "home"), free_port(), free_port()
    folder = home.path / "landing" / "orders"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("id\n1\n2\n")
    ui = f"http://127.0.0.1:{port}"
    calendar = {"ASGARD_PARTITION_END": "", "ASGARD_DAGSTER_URL": ui, "ASGARD_GATEWAY_PORT": str(api)}
    process = home.start("asgard", "dev", "--port", str(port), **calendar)
    try:
        wait_until(lambda: listens(port) and listens(api), 180, "the UI and the REST API answer")
        with httpx.Client(
            base_url=f"http://127.0.0.1:{api}", timeout=patience(60), trust_env=False
        ) as client:
            body = {"name": "orders", "source": {"path": "orders"}, "format": "csv"}
            assert client.post("/api/v1/ingestions", json=body).status_code == 201
            wait_until(
                lambda: {"bronze/orders", "orders_files"} <= known(ui), 120, "Dagster has the new asset"
            )
            wait_until(
                lambda: home.lake.version("bronze", "orders") >= 0, 240, "the sensor has loaded the files"
            )
            runs = client.get("/api/v1/ingestions/orders/runs").json()["runs"]
            assert [run["trigger"] for run in runs] == ["sensor"], runs
            assert client.delete("/api/v1/ingestions/orders").status_code == 204
            wait_until(lambda: "bronze/orders" not in known(ui), 120, "Dagster has let it go")
            assert home.lake.version("bronze", "orders") >= 0
    finally:
        ended(process, 60, signal.SIGINT, group=True)


@pytest.mark.parametrize("broken", [b'{"data": null, "errors": []}', b"[]", b"not JSON"])
def test_an_answer_that_cannot_be_read_does_not_end_reloads(broken: bytes):
    asked = list[bytes]()

    class Dagster(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", str(len(broken)))
            self.end_headers()
            self.wfile.write(broken)

    with HTTPServer(("127.0.0.1", 0), Dagster) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        reload = Reloader(Settings(dagster_url=f"http://127.0.0.1:{server.server_port}"))
        for count in (1, 2):
            reload()
            wait_until(lambda n=count: len(asked) >= n, 10, "Dagster is asked")
            wait_until(lambda: not _busy(), 10, "the thread has ended")
        server.shutdown()


def _busy() -> bool:
    return any(thread.name == "reload" for thread in threading.enumerate())
