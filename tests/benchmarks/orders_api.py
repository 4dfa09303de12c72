"""The API that the benchmark of small jobs reads: orders by id, and as a list of pages.

    python -m tests.benchmarks.orders_api      # prints its address, serves until it is ended

`/orders/17` is one order, `/orders?page=3&per_page=100&total=20000` a page of so many. It does as little as it can, for
it has the same two cores as what is measured.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

_ORDER = (
    '{"id":%d,"customer":"customer %d","amount":%d.25,"paid":true,"at":"2026-10-05T10:%02d:%02dZ",'
    '"city":"Springfield","note":"to be delivered to the back door, second floor","lines":%d}'
)


def order(number: int) -> str:
    return _ORDER % (number, number % 997, number % 5000, number // 60 % 60, number % 60, number % 7)


def answer(target: str) -> str:
    parts = urlsplit(target)
    if parts.path != "/orders":
        return order(int(parts.path.rsplit("/", 1)[1]))
    asked = {name: int(values[0]) for name, values in parse_qs(parts.query).items() if values[0].isdigit()}
    page, size, total = asked.get("page", 1), asked.get("per_page", 100), asked.get("total", 20_000)
    data = ",".join(map(order, range((page - 1) * size, min(page * size, total))))
    return f'{{"data":[{data}],"page":{page},"pages":{-(-total // size)},"total":{total}}}'


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self._transport, self._waiting = transport, b""

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while b"\r\n\r\n" in self._waiting:
            head, _, self._waiting = self._waiting.partition(b"\r\n\r\n")
            body = answer(head.split(b" ", 2)[1].decode()).encode()
            begin = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            self._transport.write(begin % len(body) + body)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


@contextmanager
def orders_api() -> Iterator[str]:
    """A server in a process of its own; gives its address."""
    process = subprocess.Popen([sys.executable, "-m", __name__], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve())
