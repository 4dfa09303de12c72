"""The Kubernetes client against a real HTTP server: identities, refusals, outages."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
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


def kubeconfig(
    folder: Path, address: str, user: dict[str, Any], ca: str = base64.b64encode(b"ca").decode()
) -> str:
    cluster = {"server": address, "certificate-authority-data": ca}
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


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A server that knows its callers by certificate, and a kubeconfig's data by which it does."""
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt",
        "req -newkey rsa:2048 -nodes -subj /CN=one -keyout one.key -out one.csr",
        "x509 -req -in one.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out one.crt",
    ):
        (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1")
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    server = HTTPServer(("127.0.0.1", 0), Server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "one.crt", tmp_path / "one.key")
    context.load_verify_locations(tmp_path / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    names = {"certificate-authority": "ca.crt", "client-certificate": "one.crt", "client-key": "one.key"}
    data = {
        f"{key}-data": base64.b64encode((tmp_path / name).read_bytes()).decode()
        for key, name in names.items()
    }
    yield f"https://127.0.0.1:{server.server_port}", data
    server.shutdown()
    thread.join()
    server.server_close()


def test_keys_that_a_kubeconfig_holds_are_used_and_lie_in_no_file(
    tmp_path: Path, guarded: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, data = guarded
    ca = data.pop("certificate-authority-data")
    path = kubeconfig(tmp_path, address, data, ca)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        assert Api.connect(path).get("/pod") == {"kind": "Pod"}
    assert not list((tmp_path / "tmp").iterdir())
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 3 + 5  # once each, beside connections
    stranger = base64.b64encode((tmp_path / "one.crt").read_bytes()).decode()
    with pytest.raises(ApiUnreachable, match="SSLError"):
        Api.connect(kubeconfig(tmp_path, address, data, stranger)).get("/pod")


def test_several_kubeconfigs_are_read_as_one(tmp_path: Path, address: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = kubeconfig(tmp_path / "a", address, {"token": "t"}), tmp_path / "b" / "config"
    there = {"name": "there", "context": {"cluster": "c", "user": "robot"}}
    second.write_text(
        yaml.safe_dump({"contexts": [there], "users": [{"name": "robot", "user": {"tokenFile": "token"}}]})
    )
    (tmp_path / "b" / "token").write_text("robots\n")
    both = f"{tmp_path}/absent:{first}:{second}"
    Api.connect(both).get("/pod")
    Api.connect(both, context="there").get("/pod")
    (tmp_path / "b" / "token").write_text("rotated\n")
    Api.connect(both, context="there").get("/pod")
    assert [seen[2] for seen in SEEN] == ["Bearer t", "Bearer robots", "Bearer rotated"]


def test_what_a_kubeconfig_lacks_is_named(tmp_path: Path, address: str) -> None:
    path = kubeconfig(tmp_path, address, {"token": "t"})
    with pytest.raises(ConfigError, match="no entry 'there' under contexts"):
        Api.connect(path, context="there")
    with pytest.raises(ConfigError, match="no kubeconfig at"):
        Api.connect(str(tmp_path / "absent"))
    broken = Api.connect(kubeconfig(tmp_path, address, {"exec": {"command": "no-such-plugin"}}))
    with pytest.raises(ConfigError, match="no-such-plugin"):
        broken.get("/pod")
