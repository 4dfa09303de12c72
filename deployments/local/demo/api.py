"""The demo's REST API: usage a user and day, tickets a day, with the faults of a real service.

    python -m deployments.local.demo.api --port 8765

    GET /health                                          200 as soon as it answers
    GET /v1/users/{user_id}/usage?date=YYYY-MM-DD        one record; 404 for users without data
    GET /v1/tickets?date=YYYY-MM-DD&page=1&per_page=50   one page of a list
    GET /stats                                           what was asked of /v1, by whom

Everything below /v1 wants `Authorization: Bearer demo-token`. Answers are late by 5 to 20 ms; which attempts
fail is said in `planted.fault`. Statistics and the log count requests below /v1 only, so that a run which
sends nothing shows 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import re
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from deployments.local.demo.planted import NO_DATA, chance, fault, planted, wrong_usage
from deployments.local.demo.world import World, number_of

TOKEN = "demo-token"
LATENCY_SECONDS = (0.005, 0.020)
BAD_TICKETS = 900_000_000  # ids of planted tickets count from here
USAGE = re.compile(r"/v1/users/(\d{1,9})/usage")
DAY = re.compile(r"\d{4}-\d\d-\d\d")


class Problem(Exception):
    """A request that gets `status` and a sentence instead of data."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


def ticket_rows(world: World, day: str) -> list[dict[str, Any]]:
    """Tickets of a day as the API lists them: the planted ones first, copies last, on a later page."""
    bad, rows = planted(day, world.users, world.seed)["tickets"], world.tickets(day)
    if not rows:
        return rows
    lost = [
        {**rows[n % len(rows)], "ticket_id": BAD_TICKETS + 100 * number_of(day) + n, "user_id": None}
        for n in range(bad["null_user"])
    ]
    return lost + rows + [dict(rows[(5 * n) % len(rows)]) for n in range(bad["duplicate"])]


class Stats:
    """Counts requests below /v1 and writes one line of JSON for each."""

    def __init__(self, log: Path | None) -> None:
        self.requests = self.in_flight = self.max_in_flight = 0
        self.by_path: Counter[str] = Counter()
        self.by_status: Counter[str] = Counter()
        self.clients: dict[tuple[str, str], list[int]] = {}  # requests, in flight, most in flight
        self._log = log.open("ab") if log else None
        self._lines: list[bytes] = []

    def begin(self, client: tuple[str, str]) -> list[int]:
        self.requests += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        counts = self.clients.setdefault(client, [0, 0, 0])
        counts[0] += 1
        counts[1] += 1
        counts[2] = max(counts[2], counts[1])
        return counts

    def end(self, counts: list[int], template: str, status: int) -> None:
        self.in_flight -= 1
        counts[1] -= 1
        self.by_path[template] += 1
        self.by_status[str(status)] += 1

    def note(self, **entry: Any) -> None:
        if self._log:
            self._lines.append(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        if self._log and self._lines:
            self._log.write(b"".join(self._lines))
            self._log.flush()
            self._lines.clear()

    def report(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "by_path": dict(self.by_path),
            "by_status": dict(self.by_status),
            "clients": [
                {"user_agent": agent, "worker": worker, "requests": total, "max_in_flight": most}
                for (agent, worker), (total, _, most) in self.clients.items()
            ],
        }


class Api:
    """Answers requests. Bodies of a day are rendered once; attempts are counted for the faults."""

    def __init__(self, world: World, stats: Stats, faults: bool = True) -> None:
        self.world, self.stats, self.faults = world, stats, faults
        self._bodies: dict[str, list[bytes]] = {}
        self._tickets: dict[str, list[dict[str, Any]]] = {}
        self._attempts: Counter[str] = Counter()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The whole server: one function instead of a router, for this runs beside its clients."""
        path, _, query = request.raw_path.partition("?")
        if path == "/health":
            return _json(b'{"status":"ok"}')
        if path == "/stats":
            return _json(orjson.dumps(self.stats.report()))
        agent, worker = request.headers.get("User-Agent", ""), request.headers.get("X-Asgard-Worker", "")
        counts = self.stats.begin((agent, worker))
        in_flight, began = self.stats.in_flight, time.time()
        template, status = "other", 499  # 499: the client went away
        try:
            usage = USAGE.fullmatch(path)
            template = (
                "/v1/users/{user_id}/usage" if usage else "/v1/tickets" if path == "/v1/tickets" else "other"
            )
            try:
                response = await self._answer(request, path, query, usage)
            except Problem as problem:
                body = orjson.dumps({"error": problem.message})
                response = _json(body, problem.status, problem.headers)
            status = response.status
            return response
        finally:
            self.stats.end(counts, template, status)
            peer = request.transport.get_extra_info("peername") if request.transport else None
            self.stats.note(
                time=began,
                method=request.method,
                path=request.raw_path,
                status=status,
                in_flight=in_flight,
                user_agent=agent,
                worker=worker,
                port=peer[1] if peer else None,
            )

    async def _answer(
        self, request: web.BaseRequest, path: str, query: str, usage: re.Match[str] | None
    ) -> web.Response:
        if not usage and path != "/v1/tickets":
            raise Problem(404, f"no such path: {path}")
        if request.method != "GET":
            raise Problem(405, "only GET", {"Allow": "GET"})
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Problem(401, f"send Authorization: Bearer {TOKEN}", {"WWW-Authenticate": "Bearer"})
        given = dict(parse_qsl(query))
        day = given.get("date", "")
        try:
            if not DAY.fullmatch(day):
                raise ValueError(f"date={day or '(missing)'}: expected YYYY-MM-DD")
            number_of(day)
        except ValueError as error:
            raise Problem(400, str(error)) from error
        if usage:
            user = int(usage[1])
            await self._meddle(f"/v1/users/{user}/usage", day, user)
            return self._usage(user, day)
        page, per_page = _count(given, "page", 1, 1_000_000), _count(given, "per_page", 50, 100)
        await self._meddle(f"/v1/tickets?page={page}", day, None)
        return self._page(day, page, per_page)

    async def _meddle(self, name: str, day: str, user: int | None) -> None:
        """Be late, and refuse what `planted.fault` says."""
        key = f"{name} {day}"
        self._attempts[key] += 1
        attempt = self._attempts[key]
        low, high = LATENCY_SECONDS
        await asyncio.sleep(low + (high - low) * chance(key, attempt, "latency"))
        status, retry_after = fault(name, day, attempt, user) if self.faults else (0, "")
        if status == 429:
            # An HTTP-date has whole seconds: the next but one lies one to two seconds ahead.
            wait = (
                formatdate(math.ceil(time.time()) + 1, usegmt=True) if retry_after == "date" else retry_after
            )
            raise Problem(429, "too many requests", {"Retry-After": wait})
        if status:
            raise Problem(status, "try again")

    def _usage(self, user: int, day: str) -> web.Response:
        if not 1 <= user <= self.world.users or user % NO_DATA == 0:
            raise Problem(404, f"no usage of user {user}")
        if day not in self._bodies:
            wrong = wrong_usage(day, self.world.users, self.world.seed) if self.faults else {}
            self._bodies[day] = [orjson.dumps(r | wrong.get(r["user_id"], {})) for r in self.world.usage(day)]
        return _json(self._bodies[day][user - 1])

    def _page(self, day: str, page: int, per_page: int) -> web.Response:
        if day not in self._tickets:
            self._tickets[day] = ticket_rows(self.world, day) if self.faults else self.world.tickets(day)
        rows = self._tickets[day]
        body = {
            "data": rows[(page - 1) * per_page : page * per_page],
            "page": page,
            "pages": max(1, math.ceil(len(rows) / per_page)),
        }
        return _json(orjson.dumps(body))


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def _count(given: dict[str, str], name: str, default: int, most: int) -> int:
    text = given.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise Problem(400, f"{name}={text}: expected a number from 1 to {most}")
    return int(text)


def listen(port: int, host: str = "127.0.0.1") -> socket.socket:
    """A listening socket, on loopback unless a test cluster's pods are to reach it. Port 0: any free one."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(1024)
    except OSError:
        sock.close()
        raise
    return sock


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except PermissionError:
        return True
    except OSError:
        return False


async def serve(api: Api, sock: socket.socket, parent: int | None = None) -> None:
    """Answer until SIGTERM or SIGINT, or until `parent` has ended."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, stop.set)
    runner = web.ServerRunner(web.Server(api.handle, access_log=None), shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, sock, backlog=1024).start()
        while not stop.is_set() and (parent is None or alive(parent)):
            api.stats.flush()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.25)
    finally:
        await runner.cleanup()
        api.stats.flush()


def run(main: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="deployments.local.demo.api", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--port", type=int, default=8765, help="0: any free port")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port-file", type=Path, help="file that gets the port once the server listens")
    parser.add_argument("--users", type=int, default=800)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--log", type=Path, help="file that gets one line of JSON for each request")
    parser.add_argument("--parent", type=int, metavar="PID", help="end when this process has ended")
    parser.add_argument("--no-faults", action="store_true", help="no refusals and no bad rows")
    given = parser.parse_args(arguments)
    try:
        sock = listen(given.port, given.host)
    except (OSError, OverflowError) as error:
        parser.exit(
            2,
            f"demo API: cannot listen on {given.host}:{given.port} ({error}); stop what uses the port, or choose "
            "another with --port (0: any free one)\n",
        )
    with sock:
        port = sock.getsockname()[1]
        try:
            api = Api(World(given.users, given.seed), Stats(given.log), faults=not given.no_faults)
            if given.port_file:
                aside = given.port_file.with_name(f"{given.port_file.name}.{os.getpid()}")
                aside.write_text(f"{port}\n")
                os.replace(aside, given.port_file)
        except (ValueError, OSError) as error:
            parser.exit(2, f"demo API: {error}\n")
        sys.stdout.write(f"demo API on http://{given.host}:{port}, {given.users} users, seed {given.seed}\n")
        sys.stdout.flush()
        run(serve(api, sock, given.parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
