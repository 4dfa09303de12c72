"""An API that makes exports: create, poll, download, delete; on loopback."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from tests.fakes.rest_api import RestApi


class JobsApi(RestApi):
    """`POST /exports` makes a job that is ready after so many `polls`; it has `files` CSV files of ten rows."""

    def __init__(self, polls: int = 2, files: int = 3) -> None:
        super().__init__()
        self.polls, self.files, self.state = polls, files, "COMPLETED"
        self.calls: list[str] = []
        self.jobs: dict[str, int] = {}
        self.keys: dict[str, str] = {}
        self.gone: set[str] = set()
        self.dies_at = ""

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/exports", self._create)
        app.router.add_get("/exports/{id}", self._poll)
        app.router.add_get("/exports/{id}/result", self._result)
        app.router.add_delete("/exports/{id}", self._delete)
        app.router.add_get("/files/{id}/{file}", self._file)
        return app

    async def _create(self, request: web.Request) -> web.Response:
        self.calls.append("create")
        key = request.headers["Idempotency-Key"]
        id = self.keys.setdefault(key, f"job{len(self.keys) + 1}")
        self.jobs[id] = 0
        return web.json_response({"data": {"id": id}}, status=202, headers={"Retry-After": "0"})

    async def _poll(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        self.calls.append(f"poll {id}")
        if id not in self.jobs:
            return web.Response(status=404)
        self.jobs[id] += 1
        if self.jobs[id] <= self.polls:
            return web.json_response({"state": "RUNNING"})
        links = [{"url": f"/files/{id}/{number}"} for number in range(self.files)]
        return web.json_response({"state": self.state, "files": links, "error": {"text": "too large"}})

    async def _result(self, request: web.Request) -> web.Response:
        self.calls.append(f"result {request.match_info['id']}")
        return web.json_response([{"id": 1}, {"id": 2}])

    async def _delete(self, request: web.Request) -> web.Response:
        self.calls.append(f"delete {request.match_info['id']}")
        return web.Response(status=204)

    async def _file(self, request: web.Request) -> web.Response:
        id, file = request.match_info["id"], int(request.match_info["file"])
        self.calls.append(f"file {id} {file}")
        if id in self.gone:
            return web.Response(status=410)
        rows: list[Any] = [f"{file * 10 + row},r{row}" for row in range(10)]
        return web.Response(text="\n".join(["id,name", *rows, ""]), content_type="text/csv")
