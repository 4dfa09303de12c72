import asyncio

import pytest

from asgard_assets.ingest.api.http.messages import Request, Response, TimedOut
from asgard_assets.ingest.api.rate.pressure import Host, Pressure
from tests.ingest.api.clock import Clock


def answers(host: Host, count: int, seconds: float, bad: bool = False) -> None:
    async def go() -> None:
        for _ in range(count):
            await host.enter()
            host.leave(seconds, bad)

    asyncio.run(go())


def host(most: int = 64) -> Host:
    found = Host(most, 2.0, 0.2)
    answers(found, 200, 0.05)
    return found


def test_a_healthy_host_gets_all():
    assert host().limit == 64


def test_server_errors_shrink_and_recovery_grows():
    found = host()
    answers(found, 300, 0.05, bad=True)
    low = found.limit
    assert low < 20
    answers(found, 2000, 0.05)
    assert found.limit == 64
    answers(found, 5000, 0.05, bad=True)
    assert found.limit == 1, "never less than one"


def test_a_few_errors_change_nothing():
    found = host()
    for _ in range(100):
        answers(found, 9, 0.05)
        answers(found, 1, 0.05, bad=True)
    assert found.limit == 64


def test_late_answers_shrink():
    found = host()
    answers(found, 200, 0.5)
    assert found.limit < 40


def test_small_waits_are_no_pressure():
    found = host()
    answers(found, 500, 0.14)
    assert found.limit == 64, "nearly three times as long, but who would notice 90 ms"


def test_what_stays_slow_is_taken_as_it_is():
    found = host()
    answers(found, 10_000, 0.4)
    assert found.limit == 64


def test_no_more_than_the_limit_are_in_flight_and_all_get_through():
    clock, pressure = Clock(), Pressure(3, "http://api")
    now = most = 0

    async def send(request: Request) -> Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        if request.id == "7":
            raise TimedOut("late")
        return Response(200, {}, b"")

    async def go() -> list:
        requests = [Request(str(n), "GET", "http://api/x") for n in range(50)]
        waiting = [asyncio.create_task(pressure(request, send)) for request in requests]
        await asyncio.sleep(0)
        waiting[40].cancel()
        return await asyncio.gather(*waiting, return_exceptions=True)

    done = asyncio.run(go())
    assert most == 3
    assert sum(isinstance(one, Response) for one in done) == 48
    assert clock.slept == []


@pytest.mark.parametrize("status", [429, 404, 200])
def test_only_server_errors_are_pressure(status):
    pressure = Pressure(64, "http://api", clock=Clock())

    async def send(_: Request) -> Response:
        return Response(status, {}, b"")

    async def go() -> None:
        for _ in range(500):
            await pressure(Request("1", "GET", "http://api/x"), send)

    asyncio.run(go())
    assert pressure.host("http://api/x").limit == 64


def test_each_host_has_its_own():
    pressure = Pressure(64, "http://one:80/v1")
    answers(pressure.host("http://two/x"), 300, 0.1, bad=True)
    assert pressure.host("http://two/y").limit < 20
    assert pressure.host("http://one:80/v1/x") is pressure.host("http://one:80/other")
    assert pressure.host("http://one:80/v1/x").limit == 64
