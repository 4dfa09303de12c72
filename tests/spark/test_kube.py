"""The Kubernetes client against a real HTTP server: identities, refusals, outages."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from asgard_assets.errors import ConfigError
from asgard_assets.spark.kube import Api, ApiRefused, ApiUnreachable

SEEN: list[tuple[str, str, str]] = []


class Server(BaseHTTPRequestHandler):
    """Answers by path: /status/NUMBER, or an object."""

    def do_GET(self) -> None:
        SEEN.append((self.command, self.path, self.headers.get("Authorization", "")))
        status = int(self.path.rsplit("/", 1)[1]) if self.path.startswith("/status/") else 200
        reason = {"kind": "Status", "message": "pods is forbidden", "reason": "Forbidden"}
        body = json.dumps(reason if status >= 400 else {"kind": "Pod"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def address() -> Iterator[str]:
    SEEN.clear()
    server = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def kubeconfig(folder: Path, address: str, user: dict[str, Any]) -> str:
    cluster = {"server": address, "certificate-authority-data": base64.b64encode(b"ca").decode()}
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    (folder / "config").write_text(yaml.safe_dump(config))
    return str(folder / "config")


def test_a_token_and_an_exec_plugins_token_are_sent(tmp_path: Path, address: str) -> None:
    Api.connect(kubeconfig(tmp_path, address, {"token": "first"})).get("/pod")
    plugin = tmp_path / "plugin"
    status = {"status": {"token": "second", "expirationTimestamp": "2999-01-01T00:00:00Z"}}
    plugin.write_text(f"#!/bin/sh\necho x >>{tmp_path}/asked\necho '{json.dumps(status)}'\n")
    plugin.chmod(0o755)
    api = Api.connect(kubeconfig(tmp_path, address, {"exec": {"command": str(plugin)}}))
    assert api.get("/pod") == api.get("/pod") == {"kind": "Pod"}
    assert [seen[2] for seen in SEEN] == ["Bearer first", "Bearer second", "Bearer second"]
    assert (tmp_path / "asked").read_text().count("x") == 1
    assert api.calls == 2


def test_missing_refused_and_away_are_told_apart(tmp_path: Path, address: str) -> None:
    api = Api.connect(kubeconfig(tmp_path, address, {"token": "t"}))
    assert api.get("/status/404") is None
    api.delete("/status/404")
    with pytest.raises(ApiRefused, match="pods is forbidden") as refused:
        api.post("/status/403", {})
    assert (refused.value.status, refused.value.reason) == (403, "Forbidden")
    for status in (429, 500, 503):
        with pytest.raises(ApiUnreachable, match=str(status)):
            api.get(f"/status/{status}")
    with pytest.raises(ApiUnreachable, match="does not answer"):
        Api.connect(kubeconfig(tmp_path, "http://127.0.0.1:9", {"token": "t"})).get("/pod")


def test_what_a_kubeconfig_lacks_is_named(tmp_path: Path, address: str) -> None:
    path = kubeconfig(tmp_path, address, {"token": "t"})
    with pytest.raises(ConfigError, match="no entry 'there' under contexts"):
        Api.connect(path, context="there")
    with pytest.raises(ConfigError, match="no kubeconfig at"):
        Api.connect(str(tmp_path / "absent"))
    broken = Api.connect(kubeconfig(tmp_path, address, {"exec": {"command": "no-such-plugin"}}))
    with pytest.raises(ConfigError, match="no-such-plugin"):
        broken.get("/pod")
