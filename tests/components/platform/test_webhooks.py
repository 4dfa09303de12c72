"""Webhooks that go out: signed, tried again where nobody answers, and known again by their id."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from asgard_assets.components.platform.alerts import alert
from asgard_assets.errors import ConfigError

SECRET = "0123456789abcdef0123456789abcdef"


@dataclass
class Receiver:
    """A server that answers with these codes, the last one for ever, and keeps what it got."""

    codes: list[int]
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    found = Receiver([200])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.got.append((dict(self.headers), body))
            self.send_response(found.codes.pop(0) if len(found.codes) > 1 else found.codes[0])
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("ASGARD_ALERT_WEBHOOK", found.url)
    yield found
    server.shutdown()
    server.server_close()


def test_a_message_is_signed(receiver: Receiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET_KEY", SECRET)
    assert alert("orders failed", details={"run_id": "1"}) == [receiver.url]
    [(headers, body)] = receiver.got
    at, _, signature = headers["Asgard-Signature"].partition(",v1=")
    expected = hmac.new(
        SECRET.encode(), at.removeprefix("t=").encode() + b"." + body, hashlib.sha256
    ).hexdigest()
    assert signature == expected and json.loads(body)["details"] == {"run_id": "1"}


def test_a_receiver_that_fails_is_asked_again_with_the_same_id(receiver: Receiver):
    pauses, receiver.codes = list[float](), [503, 500, 200]
    alert("orders failed", details={"run_id": "1"}, sleep=pauses.append)
    assert pauses == [0.5, 2.0] and len({headers["Asgard-Delivery"] for headers, _ in receiver.got}) == 1
    alert("orders failed", details={"run_id": "2"}, sleep=pauses.append)
    assert len({headers["Asgard-Delivery"] for headers, _ in receiver.got}) == 2
    assert all("Asgard-Signature" not in headers for headers, _ in receiver.got)


@pytest.mark.parametrize(("codes", "times"), [([500], 3), ([400], 1)])
def test_who_refuses_is_not_asked_for_ever(receiver: Receiver, codes: list[int], times: int):
    receiver.codes = codes
    with pytest.raises(ConfigError, match=f"HTTP {codes[0]}"):
        alert("orders failed", sleep=lambda _: None)
    assert len(receiver.got) == times
