"""The demo API as a real server process on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deployments.local.demo.planted import fault, planted, wrong_usage
from deployments.local.demo.world import START, World
from tests.patience import ended, patience, wait_until

TOKEN = {"Authorization": "Bearer demo-token"}


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server process and its port."""
    file = folder / f"port-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "deployments.local.demo.api", "--port", "0", "--port-file", str(file)]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + patience(20)
        while not file.exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)
        yield process, int(file.read_text())
    finally:
        ended(process, 10)
        process.communicate()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    folder = tmp_path_factory.mktemp("api")
    with serving(folder, "--log", str(folder / "log")) as (_, port):
        yield port, folder / "log"


def get(
    port: int, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[Any, HTTPResponse]:
    connection = HTTPConnection("127.0.0.1", port, timeout=patience(10))
    connection.request(method, path, headers=TOKEN if headers is None else headers)
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()
    return body, response


def retried(port: int, path: str) -> Any:
    """The answer of a request that is tried twice."""
    body, response = get(port, path)
    if response.status in (429, 503):
        body, response = get(port, path)
    assert response.status == 200, body
    return body


async def sweep(port: int, paths: list[str], tries: int = 2) -> dict[str, list[int]]:
    """Statuses of each request, with at most `tries` tries and no waiting."""
    seen: dict[str, list[int]] = {path: [] for path in paths}
    left = iter(paths)
    async with aiohttp.ClientSession(headers=TOKEN | {"X-Asgard-Worker": "123"}) as session:

        async def work() -> None:
            for path in left:
                for _ in range(tries):
                    async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                        seen[path].append(response.status)
                    if response.status not in (429, 503):
                        break

        await asyncio.gather(*(work() for _ in range(48)))
    return seen


def test_it_is_healthy_without_a_token(api: tuple[int, Path]) -> None:
    body, response = get(api[0], "/health", headers={})
    assert (response.status, body) == (200, {"status": "ok"})


def test_usage_tells_what_the_world_knows(api: tuple[int, Path]) -> None:
    world = World()
    for user, day in ((1, "2026-10-05"), (800, "2026-10-20"), (5, "2026-12-24")):
        assert retried(api[0], f"/v1/users/{user}/usage?date={day}") == world.usage(day)[user - 1]


@pytest.mark.parametrize(
    ("path", "headers", "method", "status"),
    [
        ("/v1/users/1/usage?date=2026-10-05", {}, "GET", 401),
        ("/v1/users/1/usage?date=2026-10-05", {"Authorization": "Bearer other"}, "GET", 401),
        ("/v1/tickets?date=2026-10-05", {}, "GET", 401),
        ("/v1/users/1/usage?date=2026-10-05", TOKEN, "DELETE", 405),
        ("/v1/users/1/usage", TOKEN, "GET", 400),
        ("/v1/users/1/usage?date=20261005", TOKEN, "GET", 400),
        ("/v1/users/1/usage?date=2026-02-30", TOKEN, "GET", 400),
        ("/v1/users/1/usage?date=2020-01-01", TOKEN, "GET", 400),
        ("/v1/tickets?date=2026-10-06&page=0", TOKEN, "GET", 400),
        ("/v1/tickets?date=2026-10-06&per_page=1000", TOKEN, "GET", 400),
        ("/v1/users/97/usage?date=2026-10-05", TOKEN, "GET", 404),
        ("/v1/users/801/usage?date=2026-10-05", TOKEN, "GET", 404),
        ("/v1/users/1", TOKEN, "GET", 404),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    api: tuple[int, Path], path: str, headers: dict[str, str], method: str, status: int
) -> None:
    body, response = get(api[0], path, headers, method)
    assert response.status == status
    assert body["error"]


def test_tickets_come_in_pages_with_the_planted_bad_rows(api: tuple[int, Path]) -> None:
    several = 0
    for n in range(5):
        day, page, rows = str(START + timedelta(days=n)), 0, []
        while True:
            page += 1
            body = retried(api[0], f"/v1/tickets?date={day}&page={page}&per_page=50")
            assert body["page"] == page
            rows += body["data"]
            if page >= body["pages"]:
                break
            assert len(body["data"]) == 50
        several += page > 1
        found = {
            "duplicate": len(rows) - len({row["ticket_id"] for row in rows}),
            "null_user": sum(row["user_id"] is None for row in rows),
        }
        assert found == planted(day)["tickets"]
        assert len(rows) - sum(found.values()) == len(World().tickets(day))
    assert several >= 3


def test_a_day_with_a_burst_fails_as_planned_and_a_retry_succeeds(api: tuple[int, Path]) -> None:
    """All users of 2026-10-08, the first day on which the API throttles."""
    port, log = api
    day = "2026-10-08"
    before, _ = get(port, "/stats")
    paths = {user: f"/v1/users/{user}/usage?date={day}" for user in range(1, 801)}
    seen = asyncio.run(sweep(port, list(paths.values())))
    for user, path in paths.items():
        refused = fault(f"/v1/users/{user}/usage", day, 1, user)[0]
        assert seen[path] == [*([refused] if refused else []), 404 if user % 97 == 0 else 200]
    first = [statuses[0] for statuses in seen.values()]
    assert first.count(429) == 16
    assert 1 <= first.count(503) <= 20

    after, _ = get(port, "/stats")
    sent = sum(len(statuses) for statuses in seen.values())
    assert after["requests"] - before["requests"] == sent
    assert after["max_in_flight"] >= 32
    assert after["in_flight"] == 0
    (client,) = [c for c in after["clients"] if c["worker"] == "123"]
    assert client["requests"] == sent
    assert client["user_agent"].startswith("Python/")
    wait_until(lambda: len(log.read_text().splitlines()) >= after["requests"], 10, "the log is written")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    ours = [line for line in lines if line["worker"] == "123"]
    assert len(ours) == sent
    assert max(line["in_flight"] for line in ours) >= 32
    assert {"time", "method", "path", "status", "in_flight", "user_agent", "worker", "port"} <= set(ours[0])
    assert len(lines) == after["requests"]


def test_throttling_says_how_long_in_seconds_or_as_a_date(tmp_path: Path) -> None:
    burst = [u for u in range(1, 801) if fault(f"/v1/users/{u}/usage", "2026-10-17", 1, u)[0] == 429]
    with serving(tmp_path) as (_, port):
        waits = [
            get(port, f"/v1/users/{user}/usage?date=2026-10-17")[1].headers["Retry-After"] for user in burst
        ]
    dates = [wait for wait in waits if wait != "1"]
    assert len(burst) == 16
    assert len(dates) == 2
    for wait in dates:
        assert -patience(1) < parsedate_to_datetime(wait).timestamp() - time.time() <= 2


def test_about_one_request_in_a_hundred_fails_and_never_twice_running() -> None:
    days = [str(START + timedelta(days=n)) for n in range(28)]
    first = [fault(f"/v1/users/{user}/usage", day, 1, user)[0] for day in days for user in range(1, 801)]
    assert 0.008 < first.count(503) / len(first) < 0.012
    assert 0.001 < first.count(429) / len(first) < 0.004
    assert not any(fault(f"/v1/users/{u}/usage", days[3], 2, u)[0] for u in range(1, 801))


def test_wrong_types_stand_where_they_were_planted(api: tuple[int, Path]) -> None:
    wrong = [
        (str(START + timedelta(days=n)), u) for n in range(28) for u in wrong_usage(START + timedelta(days=n))
    ]
    assert 0.0005 < len(wrong) / 22_400 < 0.002
    assert sum(planted(START + timedelta(days=n))["usage"]["wrong_type"] for n in range(28)) == len(wrong)
    for day, user in wrong[:6]:
        body = retried(api[0], f"/v1/users/{user}/usage?date={day}")
        assert not isinstance(body["minutes"], float) or not isinstance(body["sessions"], int)


def test_two_servers_answer_alike(tmp_path: Path) -> None:
    paths = [f"/v1/users/{user}/usage?date=2026-10-26" for user in range(1, 201)]
    answers = []
    for _ in range(2):
        with serving(tmp_path) as (_, port):
            answers.append(
                (asyncio.run(sweep(port, paths, tries=3)), get(port, "/v1/tickets?date=2026-10-26")[0])
            )
    assert answers[0] == answers[1]


def test_a_taken_port_is_named_with_what_to_do(api: tuple[int, Path]) -> None:
    command = [sys.executable, "-m", "deployments.local.demo.api", "--port", str(api[0])]
    told = subprocess.run(command, capture_output=True, text=True, timeout=patience(20))
    assert told.returncode == 2
    assert f"cannot listen on 127.0.0.1:{api[0]}" in told.stderr
    assert "--port" in told.stderr
    assert "Traceback" not in told.stderr


def test_sigterm_ends_it_cleanly(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, port):
        assert get(port, "/health")[1].status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=patience(5)) == 0


def test_it_ends_with_the_process_that_it_was_told_of(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with serving(tmp_path, "--parent", str(parent.pid)) as (process, port):
        assert get(port, "/health")[1].status == 200
        os.kill(parent.pid, signal.SIGKILL)  # a zombie until we wait: it counts as gone
        assert process.wait(timeout=patience(5)) == 0
    parent.wait()
