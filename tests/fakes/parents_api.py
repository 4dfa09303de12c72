"""Lists of parents on loopback, each with the same pages; counts what was asked, and lets a run die in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tests.fakes.rest_api import RestApi


class ParentsApi(RestApi):
    """`/customers/{id}/orders?cursor=` or `?offset=&limit=`: so many `pages` of five orders; `since` filters."""

    def __init__(self, pages: int = 6) -> None:
        super().__init__()
        self.pages, self.size = pages, 5
        self.asked: Counter[tuple[int, int]] = Counter()
        self.began: Counter[int] = Counter()
        self.since: dict[int, str | None] = {}
        self.moments: dict[int, list[int]] = {}
        self.dies_after = 0
        self.forgets = False
        self.broken: set[int] = set()

    @property
    def items(self) -> int:
        return self.pages * self.size

    def dying(self, error: type[BaseException]) -> Callable[..., Awaitable[Any]]:
        """In place of the client's `send`: sends, until the run is to end."""
        from asgard_assets.ingest.api.http.transport import AiohttpTransport

        really, left = AiohttpTransport.send, [self.dies_after]

        async def send(client: AiohttpTransport, request: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise error
            return await really(client, request)

        return send

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/customers/{id}/orders", self._orders)
        return app

    async def _orders(self, request: web.Request) -> web.Response:
        customer = int(request.match_info["id"])
        if "offset" in request.query:
            page = int(request.query["offset"]) // self.size
        else:
            token = request.query.get("cursor", "new-0" if self.forgets else "old-0")
            if self.forgets and token.startswith("old"):
                return web.Response(status=410)
            page = int(token.partition("-")[2])
        self.asked[customer, page] += 1
        self.began[customer] += page == 0
        if customer in self.broken and page > 0:
            return web.Response(status=503)
        since = request.query.get("since")
        if page == 0:
            self.since[customer] = since
        moments = [
            m for m in self.moments.get(customer, range(self.items)) if since is None or m > int(since)
        ]
        rows = [{"order": m, "at": m} for m in moments[page * self.size : (page + 1) * self.size]]
        body: dict[str, Any] = {"data": rows}
        if "offset" not in request.query:
            after = f"{'new' if self.forgets else 'old'}-{page + 1}"
            body["next_cursor"] = after if (page + 1) * self.size < len(moments) else None
        else:
            body["total"] = len(moments)
        return web.json_response(body)
