"""A server that enforces a rate, as a process with a log of its own: `python -m tests.fakes.rated_server`.

    GET /items/{id}   a record of 495 bytes, or 429 with Retry-After where the bucket is empty
    GET /log          JSON: arrival times in seconds, and those of the refused
    GET /forget       empty the log

It speaks just enough HTTP to be no bottleneck: its clock is read as the bytes come in.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.fakes.rated_api import Bucket
from tests.patience import patience

BODY = b'{"name":"item","text":"' + b"abcdefghij" * 47 + b'"}'


class _Connection(asyncio.Protocol):
    def __init__(self, state: _State):
        self._state, self._rest = state, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for request in requests:
            self._transport.write(self._state.answer(request.split(b" ", 2)[1], now))  # type: ignore[attr-defined]


class _State:
    def __init__(self, rate: float, burst: float):
        self._rate, self._burst = rate, burst
        self._bucket = Bucket(rate, burst)

    def answer(self, path: bytes, now: float) -> bytes:
        if path == b"/log":
            log = {"arrivals": self._bucket.arrivals, "refused": self._bucket.refused}
            return _http(b"200 OK", json.dumps(log).encode())
        if path == b"/forget":
            self._bucket = Bucket(self._rate, self._burst)
            return _http(b"200 OK", b"{}")
        status, headers = self._bucket.arrive(now)
        if status == 429:
            return _http(
                b"429 Too Many Requests", b"{}", b"Retry-After: %s\r\n" % headers["retry-after"].encode()
            )
        return _http(b"200 OK", BODY)


def _http(status: bytes, body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s" % (
        status,
        len(body),
        more,
        body,
    )


@contextmanager
def rated_server(rate: float, burst: float) -> Iterator[str]:
    """A server of its own on a free port; its address."""
    command = [sys.executable, "-m", "tests.fakes.rated_server", "--rate", str(rate), "--burst", str(burst)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def log_of(url: str) -> tuple[list[float], list[float]]:
    """Arrival times of all requests, and of the refused ones."""
    with urllib.request.urlopen(f"{url}/log", timeout=patience(30)) as answer:
        log = json.load(answer)
    return log["arrivals"], log["refused"]


async def _serve(rate: float, burst: float) -> None:
    state = _State(rate, burst)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(state), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--burst", type=float, default=50)
    given = parser.parse_args()
    uvloop.run(_serve(given.rate, given.burst))
