"""Who is heard by the local Airbyte server: programs of the user who started it. No web page, no other user."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from asgard_assets.components.airbyte import refresh_snapshot
from asgard_assets.errors import SourceError
from asgard_assets.settings import Settings
from deployments.local.airbyte.login import Login, shown
from tests.deployments.test_airbyte_server import PUBLIC, running
from tests.fakes.airbyte import Fake, serving, write_instance
from tests.patience import patience

WORKSPACES = f"{PUBLIC}/workspaces"
PAGE = "/workspaces/{id}/connections/none/timeline"


def ask(url: str, headers: dict[str, str], path: str = WORKSPACES, method: str = "GET") -> int:
    """The status of one request with exactly these headers; `{port}` in them is the server's."""
    port = int(url.rsplit(":", 1)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience(10))
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value.replace("{port}", str(port)))
    connection.endheaders()
    return connection.getresponse().status


@pytest.fixture
def url(tmp_path: Path):
    with serving(Fake(tmp_path).open()) as url:
        yield url


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1:{port}"},
        {"Host": "LOCALHOST:{port}"},
        {"Host": "localhost:9001"},  # through a tunnel
        {"Host": "127.0.0.1:{port}", "Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"},
        {"Host": "127.0.0.1:{port}", "Sec-Fetch-Site": "none"},
    ],
)
def test_a_program_on_this_machine_is_heard(url, headers):
    assert ask(url, headers) == 200


@pytest.mark.parametrize("path", ["/", "/health", f"{PUBLIC}/applications/token", WORKSPACES])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "rebound.evil.example:{port}"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "127.0.0.1@evil.example"},
        {"Host": "localhost.:{port}"},
        {"Host": "0.0.0.0:{port}"},
        {"Host": "[broken"},
        {"Host": "127.0.0.1:{port}", "Origin": "https://evil.example"},
        {"Host": "127.0.0.1:{port}", "Origin": "null"},
        {"Host": "127.0.0.1:{port}", "Origin": "http://127.0.0.1:1"},
        {"Host": "127.0.0.1:{port}", "Origin": "https://127.0.0.1:{port}"},
        {"Host": "127.0.0.1:{port}", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Host": "127.0.0.1:{port}", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "document"},
    ],
)
def test_what_a_web_page_can_send_is_not_heard(url, headers, path):
    method = "POST" if path.endswith("token") else "GET"
    assert ask(url, headers, path, method) == 403


def test_two_hosts_or_origins_are_one_too_many(url):
    port = int(url.rsplit(":", 1)[1])
    for extra in ("Host: evil.example", "Origin: https://evil.example"):
        with socket.create_connection(("127.0.0.1", port), timeout=patience(10)) as raw:
            raw.sendall(f"GET {WORKSPACES} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{extra}\r\n\r\n".encode())
            assert raw.recv(100).split()[1] == b"403"


def test_a_link_to_a_job_may_be_followed_from_another_page(url):
    navigation = {"Host": "127.0.0.1:{port}", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "document"}
    assert ask(url, navigation, PAGE) == 404  # heard: there is no such connection
    assert ask(url, navigation | {"Content-Length": "0"}, PAGE, "POST") == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Content-Length: -1", 400),
        ("Content-Length: x", 400),
        ("Content-Length: 1\r\nContent-Length: 2", 400),
        ("Content-Length: 999999999999", 413),
        ("Transfer-Encoding: chunked", 411),
    ],
)
def test_a_body_of_no_length_or_of_any_length_holds_nobody_up(url, headers, status):
    port = int(url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=patience(10)) as raw:
        raw.sendall(f"POST {PUBLIC}/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n\r\n".encode())
        answer = b""
        while part := raw.recv(4096):  # until the server ends the connection
            answer += part
    assert answer.split()[1] == str(status).encode()


@pytest.mark.servers
def test_the_server_makes_a_token_that_only_its_user_can_read_and_the_component_finds(tmp_path, monkeypatch):
    host = {"Host": "127.0.0.1"}
    with running(tmp_path) as server:
        path = Settings().local_airbyte_token(server.url)
        assert path is not None and path.stat().st_mode & 0o777 == 0o600
        token = path.read_text()
        assert len(token) > 40 and token not in server.log.read_text()
        assert server.state.stat().st_mode & 0o777 == 0o700
        assert ask(server.url, host, "/health") == 200
        assert ask(server.url, host) == 401
        assert ask(server.url, host | {"Authorization": "Bearer guess"}) == 401
        assert ask(server.url, host | {"Authorization": f"Bearer {token}"}) == 200
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", server.url)
        assert refresh_snapshot(write=False) == ""
        url = server.url
    assert not path.exists()
    with running(tmp_path, url=url) as again:
        assert again.token() != token
        assert ask(url, host | {"Authorization": f"Bearer {token}"}) == 401
        assert refresh_snapshot(write=False) == ""


def instance(fake: Fake, workspace_id: str, **workspace: Any) -> Path:
    import yaml

    folder = write_instance(fake.folder / "airbyte", workspace_id)
    content = yaml.safe_load((folder / "defs.yaml").read_text())
    content["attributes"]["workspace"] |= workspace
    (folder / "defs.yaml").write_text(yaml.safe_dump(content))
    return folder


def test_the_token_of_an_earlier_start_is_replaced_without_a_word(tmp_path, monkeypatch):
    """The server was started again: its client looks into the file once more."""
    monkeypatch.setenv("ASGARD_CACHE", str(tmp_path / "cache"))
    fake = Fake(tmp_path)
    syncs = fake.open()
    folder = instance(fake, syncs.registry.id)
    with serving(syncs, login=Login.of("new")) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        path = Settings().local_airbyte_token(url)
        assert path is not None
        with shown("old", path), pytest.raises(SourceError, match=r"401.*token"):
            refresh_snapshot(folder)
        with shown("new", path):
            assert "fake" in refresh_snapshot(folder)


def test_the_token_goes_to_this_machine_only(tmp_path, monkeypatch):
    monkeypatch.setenv("ASGARD_CACHE", str(tmp_path))
    settings = Settings()
    assert settings.local_airbyte_token("http://localhost:8001/api/v1") == tmp_path / "airbyte" / "token-8001"
    for other in ("https://airbyte.example.com", "http://127.0.0.1.example.com:8001", "http://10.0.0.1:8001"):
        assert settings.local_airbyte_token(other) is None


@pytest.mark.servers
def test_a_connector_gets_no_secret_of_the_server(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the lake")
    monkeypatch.setenv("AIRBYTE_ENABLE_UNSAFE_CODE", "true")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    spy, seen = tmp_path / "source-spy", tmp_path / "seen.json"
    spec = '{"type": "SPEC", "spec": {"connectionSpecification": {}}}'
    spy.write_text(
        f'#!/bin/sh\nexec python3 -S -c \'import json, os; json.dump(dict(os.environ), open("{seen}", "w"));'
        f" print({json.dumps(spec)})'\n"
    )
    spy.chmod(0o755)
    with running(tmp_path, "--connectors", str(tmp_path)) as server:
        (workspace,) = server.call("GET", WORKSPACES)["data"]
        body = {
            "workspaceId": workspace["workspaceId"],
            "name": "spy",
            "configuration": {"sourceType": "spy"},
        }
        server.call("POST", f"{PUBLIC}/sources", body)
    given = json.loads(seen.read_text())
    assert given["HTTPS_PROXY"] and given["PATH"]
    assert not {"AWS_SECRET_ACCESS_KEY", "AIRBYTE_ENABLE_UNSAFE_CODE", "PYTHONPATH"} & given.keys()
