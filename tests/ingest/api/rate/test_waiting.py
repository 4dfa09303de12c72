"""An API that says it is closed: the wait is told, it is bounded, and what was not sent says why. In virtual time."""

from __future__ import annotations

import asyncio
from email.utils import formatdate

import pytest

from asgard_assets.ingest.api.http.messages import LimitReached, Request, Response
from asgard_assets.ingest.api.rate.budget import Budget
from asgard_assets.ingest.api.rate.pacing import Gate, Limiting, Pause
from asgard_assets.ingest.api.rate.retry import Retrying
from asgard_assets.ingest.api.source.models import Retry
from tests.ingest.api.clock import now, virtually


class Job:
    """One worker and its budget. `answers` is called with the number of the request on the wire."""

    def __init__(self, answers, patience=20.0, longest_wait=None, heed=True):
        self.sent, self.told, self.answers = [], [], answers
        bound = max(patience, longest_wait or 0)
        self.budget = Budget(None, clock=now, patience=bound, tell=self.told.append, wall=now)
        gate = Gate(self.budget, free=True, clock=now, wall=now, patience=bound, heed=heed)
        pause = Pause(0.1, now)
        self._limiting = Limiting(pause, gate, now)
        policy = Retry(deadline_seconds=patience)
        self._retrying = Retrying(policy, pause, now, wall=now, longest_wait=longest_wait)

    async def ask(self, number=0):
        async def send(_):
            self.sent.append(now())
            await asyncio.sleep(0.01)
            status, headers = self.answers(len(self.sent))
            return Response(status, headers, b"")

        request = Request(str(number), "GET", "http://api")
        try:
            answer = await self._retrying(request, lambda asked: self._limiting(asked, send))
            return answer.status, request.trace.gave_up, request.trace.attempts
        except LimitReached as error:
            return None, error.message, request.trace.attempts

    async def walk(self, count):
        """One request after the other; gives back what became of each, and how long it took."""
        began, found = now(), []
        for number in range(count):
            found.append(await self.ask(number))
            await asyncio.sleep(0.2)
        return found, now() - began


def walked(count, answers, **how):
    """The job, what became of each request, and how long it took."""

    async def run():
        job = Job(answers, **how)
        return job, *await job.walk(count)

    return virtually(run())


def used_up(reset, at=2):
    def answers(sent):
        return 200, {"x-ratelimit-remaining": "0" if sent == at else "9", "x-ratelimit-reset": str(reset)}

    return answers


@pytest.mark.parametrize("reset", [4000, 1_900_000_000, 1_900_000_000_000])
def test_a_reset_far_away_is_not_waited_for_and_names_the_header(reset):
    job, found, took = walked(4, used_up(reset))
    assert [status for status, _, _ in found] == [200, 200, None, None]
    assert f"x-ratelimit-reset: {reset}" in found[2][1]
    assert "limits.longest_wait_seconds" in found[2][1]
    assert "limits.headers: ignore" in found[2][1]
    assert found[2][2] == 0, "it was never on the wire"
    assert took < 20
    assert [wait.waited for wait in job.told] == [False]


def test_a_reset_within_the_bound_is_waited_for_and_told_at_its_beginning():
    seen = []

    async def run():
        job = Job(used_up(15))
        walk = asyncio.create_task(job.walk(3))
        await asyncio.sleep(5)
        seen.append(job.budget.waiting)
        return job, *await walk, job.budget.waiting

    job, found, took, afterwards = virtually(run())
    assert [status for status, _, _ in found] == [200, 200, 200]
    assert 15 <= took < 18
    assert [(round(wait.seconds), wait.waited) for wait in job.told] == [(15, True)]
    assert seen[0].startswith("waiting until ")
    assert "x-ratelimit-reset: 15" in seen[0]
    assert afterwards == "", "it is over"


def test_a_longer_wait_can_be_allowed():
    _, found, took = walked(3, used_up(4000), longest_wait=5000)
    assert [status for status, _, _ in found] == [200, 200, 200]
    assert 4000 <= took < 4010


def test_headers_that_mean_something_else_can_be_ignored():
    _, found, took = walked(4, used_up(4000), heed=False)
    assert [status for status, _, _ in found] == [200] * 4
    assert took < 2


@pytest.mark.parametrize("after", ["7200", formatdate(9_000, usegmt=True)])
def test_a_retry_after_of_hours_ends_every_row_at_once_with_the_reason(after):
    job, found, took = walked(50, lambda _: (429, {"retry-after": after}))
    assert took < 50
    assert found[0][0] == 429
    assert "the API asks to wait until" in found[0][1]
    assert len(job.sent) == 3, "the others would be refused too"
    assert all(status is None and "retry-after" in why for status, why, _ in found[3:])


def test_a_retry_after_of_hours_is_waited_for_where_that_is_allowed():
    def answers(sent):
        return (429, {"retry-after": "7200"}) if sent == 1 else (200, {})

    job, found, took = walked(2, answers, longest_wait=8000)
    assert [status for status, _, _ in found] == [200, 200]
    assert 7200 <= took < 7300
    assert [(round(wait.seconds, -1), wait.waited) for wait in job.told] == [(7200, True)]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"retry-after": "0"},
        {"retry-after": "1"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"},
    ],
)
def test_an_api_that_refuses_everything_ends_the_job_not_only_the_request(headers):
    _, found, took = walked(200, lambda _: (429, headers), patience=60.0)
    assert took < 60 + 60 + 200 * 0.2, "not 60 s for each of the rows"
    assert found[0][0] == 429
    assert found[0][1], "why it was given up"
    assert "refused every request" in found[-1][1]


def test_one_resource_that_is_closed_for_hours_does_not_close_the_others():
    _, found, _ = walked(80, lambda sent: (429, {"retry-after": "7200"}) if sent == 40 else (200, {}))
    assert [status for status, _, _ in found].count(200) == 79


def test_a_low_rate_of_ones_own_is_no_closed_api():
    async def run():
        budget = Budget(0.01, clock=now, patience=20)
        leases = [await budget.lease(1, None) for _ in range(3)]
        return leases, budget.waits

    leases, waits = virtually(run())
    assert [lease.count for lease in leases] == [1, 1, 1]
    assert waits == []
