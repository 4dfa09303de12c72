"""Connections of strangers to a small server: few, short, and nothing of what they send in a log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import web

MOST = 128
IDLE_SECONDS = 10.0
REQUEST_SECONDS = 60.0
_LOOK_SECONDS = 0.5


def guarded(
    application: Callable[..., web.Application],
    most: int = MOST,
    idle_seconds: float = IDLE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> web.Application:
    """The application, made with what bounds its connections.

    One that has no whole request within `idle_seconds` is closed, and the oldest of those where there are more than
    `most`: aiohttp itself waits for ever. A request that cannot be read may hold a token; aiohttp would log it.
    """
    from aiohttp import web

    busy: set[Any] = set()
    since: dict[Any, float] = {}
    servers: list[web.Server] = []

    @web.middleware
    async def bounded(request: web.Request, handler: Any) -> web.StreamResponse:
        busy.add(request.protocol)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return await handler(request)
        except TimeoutError:
            return web.Response(status=408, text="the request took too long\n")
        finally:
            busy.discard(request.protocol)
            since[request.protocol] = clock()

    def look() -> None:
        now, there = clock(), [one for server in servers for one in server.connections]
        for gone in since.keys() - set(there):
            del since[gone]
        idle = sorted((since.setdefault(one, now), n, one) for n, one in enumerate(there) if one not in busy)
        for place, (began, _, one) in enumerate(idle):
            if (now - began > idle_seconds or place < len(there) - most) and one.transport is not None:
                one.transport.abort()

    async def looking(_: web.Application) -> AsyncIterator[None]:
        async def loop() -> None:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                look()

        task = asyncio.create_task(loop())
        yield
        task.cancel()

    quiet = logging.getLogger(f"{__name__}.requests")
    quiet.addFilter(_without_what_was_sent)
    app = application(middlewares=[bounded], handler_args={"logger": quiet})
    app.cleanup_ctx.append(looking)
    make = app._make_handler  # noqa: SLF001  aiohttp gives its server to nobody else

    def keeping(**options: Any) -> web.Server:
        servers.append(make(**options))
        return servers[-1]

    object.__setattr__(app, "_make_handler", keeping)
    return app


def _without_what_was_sent(record: logging.LogRecord) -> bool:
    """Name the kind of error only: its text, and a traceback, quote the request."""
    if record.exc_info:
        kind = record.exc_info[0]
        record.msg, record.args = f"a request was not served: {kind.__name__ if kind else 'error'}", ()
        record.exc_info, record.exc_text = None, None
    return True
