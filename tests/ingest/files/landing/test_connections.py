"""The receiver of notices answers, whatever strangers do to its port, and logs nothing of it."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from asgard_assets.ingest.files.landing.connections import guarded

TOKEN = "tok-0123456789abcdef"


def app(**options) -> web.Application:
    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    found = guarded(web.Application, **options)
    found.add_routes([web.get("/health", alive), web.post("/{token}", alive)])
    return found


async def said(port: int, raw: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    try:
        return await reader.read(4096)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "options", [{"most": 3, "idle_seconds": 1e9}, {"most": 100, "idle_seconds": 0.0}], ids=["many", "slow"]
)
def test_half_requests_are_closed_and_others_answered(options):
    async def main() -> None:
        async with TestServer(app(**options)) as server:
            held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(8)]
            for _, writer in held:
                writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n")
            ended = await asyncio.gather(*(reader.read() for reader, _ in held[:5]), return_exceptions=True)
            assert all(isinstance(one, ConnectionError) or one == b"" for one in ended)
            assert b"200 OK" in await said(
                server.port, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
            for _, writer in held:
                writer.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /%s HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nAuth orization: Bearer %s\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\x01\r\n\r\n",
        b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: zz\r\n\r\n",
    ],
)
def test_a_token_in_a_malformed_request_is_not_logged(raw, caplog, capfd):
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        async with TestServer(app()) as server:
            await said(server.port, raw.replace(b"%s", TOKEN.encode()))

    asyncio.run(main())
    assert TOKEN not in caplog.text and TOKEN not in "".join(capfd.readouterr())
