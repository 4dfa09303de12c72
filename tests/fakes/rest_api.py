"""A small REST API on loopback, in a thread of the test: what it does wrong is said by the test."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web

from tests.patience import patience

TOKEN = "canary-3f9a-token"


@dataclass
class RestApi:
    """`GET /v1/users/{id}/usage?date=`, `GET /v1/tickets?date=&page=`; both want the bearer token.

    `status` maps a user id to the status codes of its first tries; `value` is in every body; `latency` is
    slept before an answer, `bodies` are whole bodies of some users. Everything that arrived is counted.
    """

    url: str = ""
    status: dict[int, list[int]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)  # of refusals
    limits: dict[str, str] = field(default_factory=dict)  # headers of good answers
    changed: set[int] = field(default_factory=set)
    bodies: dict[int, dict[str, Any]] = field(default_factory=dict)
    echo: bool = False
    etags: bool = False
    not_modified: int = 0
    latency: float = 0.0
    tickets: int = 5
    requests: Counter[str] = field(default_factory=Counter)
    workers: set[str] = field(default_factory=set)
    in_flight: int = 0
    max_in_flight: int = 0

    def forget(self) -> None:
        self.requests.clear()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/users/{id}/usage", self._usage)
        app.router.add_get("/v1/tickets", self._tickets)
        return app

    async def _arrived(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise web.HTTPUnauthorized
        self.requests[request.path_qs] += 1
        self.workers.add(request.headers.get("X-Asgard-Worker", ""))
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency)
        finally:
            self.in_flight -= 1

    async def _usage(self, request: web.Request) -> web.Response:
        await self._arrived(request)
        user = int(request.match_info["id"])
        planned = self.status.get(user, [])
        tries = self.requests[request.path_qs]
        if tries <= len(planned) and planned[tries - 1] != 200:
            return web.Response(status=planned[tries - 1], headers=self.headers)
        body: dict[str, Any] = {"user_id": user, "date": request.query["date"], "sessions": user % 7}
        if user in self.changed:
            body["sessions"] = 99
        body = self.bodies.get(user, body)
        if self.etags:
            tag = f'"{user}-{body["sessions"]}"'
            if request.headers.get("If-None-Match") == tag:
                self.not_modified += 1
                return web.Response(status=304, headers={"ETag": tag})
            return web.json_response(body, headers={"ETag": tag, **self.headers})
        if self.echo:
            body["you_sent"] = dict(request.headers)
        return web.json_response(body, headers=self.limits)

    async def _tickets(self, request: web.Request) -> web.Response:
        await self._arrived(request)
        page, size = int(request.query["page"]), int(request.query["per_page"])
        all_items = [{"ticket_id": f"{request.query['date']}-{n}"} for n in range(self.tickets)]
        planned = self.status.get(-page, [])
        tries = self.requests[request.path_qs]
        if tries <= len(planned):
            return web.Response(status=planned[tries - 1])
        items = all_items[(page - 1) * size : page * size]
        return web.json_response(
            {"data": items, "page": page, "pages": -(-self.tickets // size)}, headers=self.limits
        )


Api = TypeVar("Api", bound=RestApi)


@contextmanager
def serving(api: Api | None = None) -> Iterator[Api]:
    """The API, or one like it, in a thread with its own loop, on a free port."""
    api = api or RestApi()  # type: ignore[assignment]
    loop, ready = asyncio.new_event_loop(), threading.Event()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(api.application(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(patience(10))
    try:
        yield api
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(patience(10))
