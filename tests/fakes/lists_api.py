"""Lists as APIs write them, on loopback: one route for each habit; what arrived is kept in `calls`."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from tests.fakes.rest_api import RestApi
from tests.patience import patience


class ListsApi(RestApi):
    """`/items/{habit}?page=`: 25 items in pages of 10; `habit` says how an answer names the next page."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.cookies: list[str] = []
        self.seen: list[dict[str, str]] = []
        self.refused: frozenset[int] = frozenset()  # customers
        self.together = 0  # so many first requests wait for each other

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/items/{habit}", self._items)
        app.router.add_get("/list/{page}", self._in_path)
        app.router.add_get("/filtered", self._filtered)
        app.router.add_get("/customers/{customer}/orders", self._orders)
        app.router.add_get("/tenant", self._tenant)
        return app

    def _page(self, page: int) -> dict[str, Any]:
        rows = [{"id": n, "state": "gone" if n % 5 == 0 else "here"} for n in range(1, 26)]
        return {"data": rows[(page - 1) * 10 : page * 10]}

    async def _items(self, request: web.Request) -> web.Response:
        self.calls.append(request.path_qs)
        self.seen.append(dict(request.headers))
        page, habit = int(request.query.get("page", 1)), request.match_info["habit"]
        body = self._page(page)
        following = f"/items/{habit}?page={page + 1}"
        if habit == "key" and len(request.query.getall("api_key", [])) != 1:
            return web.Response(status=400)
        if habit == "redirected":
            raise web.HTTPFound(f"/items/moved?{request.query_string}".rstrip("?"))
        if habit == "moved":
            following = f"?page={page + 1}"
        if habit == "key":
            following += f"&api_key={request.query.get('api_key', '')}"
        if habit == "spaces":
            following += "&q=Zoë B&done=50%&kept=a%20b"
        if habit == "elsewhere":
            following = f"http://other.example:99{following}"
        headers = {}
        if habit == "session":
            if page > 1 and "walk=7" not in request.headers.get("Cookie", ""):
                return web.Response(status=409)
            headers["Set-Cookie"] = "walk=7; Path=/; HttpOnly"
        body["next"] = following if page < 3 else None
        return web.json_response(body, headers=headers)

    async def _in_path(self, request: web.Request) -> web.Response:
        self.calls.append(request.path_qs)
        return web.json_response(self._page(int(request.match_info["page"])))

    async def _filtered(self, request: web.Request) -> web.Response:
        self.calls.append(request.path_qs)
        return web.json_response({"data": [{"id": state} for state in request.query.getall("state", [])]})

    async def _orders(self, request: web.Request) -> web.Response:
        self.calls.append(request.path_qs)
        await self._wait_for_others()
        customer, page = int(request.match_info["customer"]), int(request.query.get("page", 1))
        planned = self.status.get(customer, [])
        if page == 2 and planned:
            return web.Response(status=planned.pop(0))
        if customer in self.refused:
            return web.Response(status=403)
        if customer == 4:
            return web.Response(status=404)
        rows = [{"id": n, "total": n * customer} for n in range(1, 26)]
        link = f'<{request.path}?page={page + 1}>; rel="next"'
        return web.json_response(
            rows[(page - 1) * 10 : page * 10], headers={"Link": link} if page < 3 else {}
        )

    async def _wait_for_others(self) -> None:
        seconds = patience(10)
        while len(self.calls) < self.together and seconds > 0:
            seconds -= 0.01
            await asyncio.sleep(0.01)

    async def _tenant(self, request: web.Request) -> web.Response:
        return web.json_response({"host": request.host, "auth": request.headers.get("Authorization")})
