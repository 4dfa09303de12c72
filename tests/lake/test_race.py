"""A store that lets two writers create one object is named before it loses a commit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from asgard_assets.doctor import commits
from asgard_assets.errors import LakeError
from asgard_assets.lake import Lake
from asgard_assets.lake.race import prove, refuse_careless, winners
from asgard_assets.settings import Settings
from tests.servers.s3 import s3


class Careless(BaseHTTPRequestHandler):
    """An S3 that ignores If-None-Match, as some stores do."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_DELETE(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def careless() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Careless)
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def settings(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> Settings:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret-key")
    monkeypatch.setenv("ASGARD_LAKE", "s3://lake/asgard")
    monkeypatch.setenv("ASGARD_S3_ENDPOINT", endpoint)
    return Settings()


def test_two_winners_or_none_are_counted() -> None:
    kept, lock = dict[str, bytes](), threading.Lock()

    def put(name: str, content: bytes) -> bool:
        with lock:
            return kept.setdefault(name, content) is content

    assert winners(put) == 1
    assert winners(lambda name, content: True) == 2
    assert winners(lambda name, content: False) == 0


def test_the_doctor_refuses_a_store_that_lets_both_win(
    careless: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = commits(settings(monkeypatch, careless))
    assert not found.ok and "loses commits" in found.found and "2 of two" in found.cure


def test_a_driver_does_not_start_on_such_a_store(careless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake.from_settings(settings(monkeypatch, careless))
    with pytest.raises(LakeError, match="s3://lake/asgard: 2 of two .* would lose commits"):
        refuse_careless(lake)


def test_an_outage_at_the_start_of_a_driver_is_not_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refuse_careless(Lake.from_settings(settings(monkeypatch, "http://127.0.0.1:1")))
    assert "conditional puts could not be raced" in caplog.text


def test_a_local_folder_needs_no_proof(tmp_path: Path) -> None:
    prove(Lake(str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.servers
def test_the_doctor_is_content_with_a_store_that_keeps_the_condition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3(tmp_path / "s3", "lake") as server:
        found = commits(settings(monkeypatch, server.endpoint))
        assert found.ok, found
        assert not [path for path in (tmp_path / "s3" / "lake").rglob("*") if path.is_file()]
