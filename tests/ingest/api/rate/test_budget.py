"""A job's rate budget, with several workers, in virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest

from asgard_assets.ingest.api.http.messages import Request, Response, TransportError
from asgard_assets.ingest.api.rate.budget import Budget
from asgard_assets.ingest.api.rate.pacing import Gate, Limiting, Pause
from asgard_assets.ingest.api.rate.retry import Retrying
from asgard_assets.ingest.api.source.models import Retry
from tests.fakes.rated_api import Bucket, Windows, fullest_second
from tests.ingest.api.clock import now, virtually


class Remote:
    """A budget with a network before it: answers come late, and a worker may die."""

    def __init__(self, budget: Budget):
        self._budget = budget

    async def lease(self, want, seen):
        await asyncio.sleep(random.uniform(0, 0.003))
        lease = await self._budget.lease(want, seen)
        await asyncio.sleep(random.uniform(0, 0.003))
        return lease


async def work(budget, api, rows, *, declared, in_flight=64, latency=0.01, done=None):
    """One worker: sends `rows` (shared with others) through retry, pause and gate."""
    pause = Pause(0.1, now)
    gate = Gate(Remote(budget), free=declared is None, clock=now, wall=now)
    limiting = Limiting(pause, gate, now)
    retrying = Retrying(Retry(backoff_seconds=0.2), pause, now, wall=now)

    async def send(_):
        await asyncio.sleep(random.uniform(0.2, 1.0) * latency)
        status, headers = api.arrive(now())
        await asyncio.sleep(random.uniform(0.2, 1.0) * latency)
        return Response(status, headers, b"")

    async def one():
        for row in rows:
            request = Request(str(row), "GET", "http://api")
            answer = await retrying(request, lambda asked: limiting(asked, send))
            if done is not None:
                done[row] = answer.status

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(one())


def measured(api, since=0.0):
    times = [at for at in api.arrivals if at >= api.arrivals[0] + since]
    good = len(times) - sum(at >= times[0] for at in api.refused)
    return good / (times[-1] - times[0]), fullest_second(times), len(api.refused) / len(api.arrivals)


def job(count, api, declared=None, workers=2, **how):
    async def run():
        budget, rows, done = Budget(declared, clock=now), iter(range(count)), {}
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work(budget, api, rows, declared=declared, done=done, **how))
        assert set(done.values()) == {200}
        assert len(done) == count

    random.seed(7)
    virtually(run())


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_declared_budget_is_used_and_never_exceeded(workers):
    api = Bucket(500, 50)
    job(5_000, api, 500, workers)
    rate, fullest, wasted = measured(api)
    assert rate >= 0.95 * 500
    assert fullest <= 1.05 * 500
    assert wasted < 0.01


def test_a_low_budget_is_kept_too():
    api = Bucket(2, 1)
    job(60, api, 2, 4)
    rate, fullest, wasted = measured(api)
    assert rate >= 0.95 * 2
    assert fullest <= 3, "an edge of the window may lie on a turn"
    assert wasted < 0.05


def test_workers_that_come_late_or_die_change_nothing_for_the_sum():
    async def run():
        api, budget, rows = Bucket(500, 50), Budget(500, clock=now), iter(range(6_000))
        first = asyncio.create_task(work(budget, api, rows, declared=500))
        await asyncio.sleep(1.7)
        dying = asyncio.create_task(work(budget, api, rows, declared=500))
        await asyncio.sleep(3.1)
        dying.cancel()
        late = asyncio.create_task(work(budget, api, rows, declared=500))
        await asyncio.gather(first, late)
        return api

    random.seed(7)
    api = virtually(run())
    rate, fullest, wasted = measured(api)
    assert rate >= 0.95 * 500, "the share of the dead one was used by the others"
    assert fullest <= 1.05 * 500
    assert wasted < 0.01


def test_turns_that_a_busy_worker_missed_are_made_up_for():
    async def run():
        api, budget, rows = Bucket(500, 50), Budget(500, clock=now), iter(range(10_000))
        job = asyncio.gather(*(work(budget, api, rows, declared=500) for _ in range(2)))
        while not job.done():
            await asyncio.sleep(random.uniform(0.5, 1.5))
            asyncio.get_running_loop()._virtual.now += 0.05  # both stand still, as in a garbage collection
        await job
        return api

    random.seed(7)
    api = virtually(run())
    rate, fullest, wasted = measured(api)
    assert rate >= 0.95 * 500
    assert fullest <= 1.05 * 500
    assert wasted < 0.01


def test_a_worker_that_dies_while_it_waits_for_a_turn_is_given_none():
    async def run():
        budget = Budget(1, clock=now)
        await budget.lease(1, None)
        waiting = asyncio.create_task(budget.lease(1, None))
        await asyncio.sleep(0.1)
        waiting.cancel()
        began = now()
        lease = await budget.lease(1, None)
        return now() + lease.start - began

    assert virtually(run()) == pytest.approx(1 / 0.985 - 0.1, abs=0.02)


def test_a_limit_that_nobody_declared_is_learned_by_rate():
    api = Bucket(500, 50)
    job(30_000, api)
    rate, _, wasted = measured(api, since=10)
    assert rate >= 0.8 * 500
    assert wasted < 0.05


@pytest.mark.parametrize("latency", [0.001, 0.2])
def test_a_limit_is_learned_at_any_latency(latency):
    api = Bucket(100, 10)
    job(6_000, api, latency=latency)
    rate, _, wasted = measured(api, since=10)
    assert rate >= 0.8 * 100
    assert wasted < 0.05


def test_a_declared_rate_above_the_real_one_yields():
    api = Bucket(100, 10)
    job(5_000, api, 500)
    rate, _, wasted = measured(api, since=10)
    assert rate >= 0.8 * 100
    assert wasted < 0.10


@pytest.mark.parametrize("style", ["x", "ietf"])
@pytest.mark.parametrize(("limit", "length"), [(500, 1), (1_000, 10), (2_000, 60)])
def test_limits_that_headers_tell_are_kept(style, limit, length):
    api = Windows(limit, length, style)
    job(4_000, api)
    rate, _, wasted = measured(api)
    assert wasted < 0.05
    # A long window is used up at once and then waited for, so its last part may be idle.
    assert rate >= 0.6 * limit / length


def test_a_resource_that_refuses_does_not_slow_down_the_others():
    class Odd(Bucket):
        def arrive(self, now):
            self.arrivals.append(now)
            if len(self.arrivals) % 100 == 0:
                self.refused.append(now)
                return 429, {"retry-after": "0"}
            return 200, {}

    api = Odd(0, 0)
    job(40_000, api, in_flight=16)
    rate, _, _ = measured(api, since=2)
    assert rate >= 1_000, "2 x 16 in flight of 12 ms would be 2,600"


def test_a_driver_that_is_gone_is_an_error_of_the_request():
    class Gone:
        async def lease(self, want, seen):
            raise TransportError("the driver's service does not answer")

    async def run():
        gate = Gate(Gone(), free=False, clock=now)
        await gate.turn()

    with pytest.raises(TransportError, match="driver"):
        virtually(run())
