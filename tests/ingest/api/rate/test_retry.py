import asyncio
from email.utils import formatdate

import pytest

from asgard_assets.ingest.api.http.messages import Request, Response, TimedOut
from asgard_assets.ingest.api.rate.pacing import Pause
from asgard_assets.ingest.api.rate.retry import Retrying, retry_after
from asgard_assets.ingest.api.source.models import Retry
from tests.ingest.api.clock import Clock


def run(answers, policy=None, jitter=1.0):
    """Send one request against scripted answers; gives back (result or error, trace, clock)."""
    clock, script = Clock(), iter(answers)
    pause = Pause(0.0, clock, clock.sleep)
    retrying = Retrying(policy or Retry(), pause, clock, clock.sleep, lambda: jitter, lambda: 0.0)
    request = Request("id", "GET", "http://api")

    async def send(_):
        await pause.over()
        answer = next(script)
        if isinstance(answer, Exception):
            raise answer
        status, *more = answer if isinstance(answer, tuple) else (answer,)
        return Response(status, {"retry-after": more[0]} if more else {}, b"")

    try:
        return asyncio.run(retrying(request, send)), request.trace, clock
    except TimedOut as error:
        return error, request.trace, clock


def test_an_error_is_tried_again_with_a_growing_wait():
    response, trace, clock = run([503, TimedOut("late"), 200], Retry(backoff_seconds=1))
    assert (response.status, trace.attempts) == (200, 3)
    assert clock.slept == [1, 2]


def test_the_last_answer_stands_when_attempts_run_out():
    response, trace, _ = run([500, 502, 503], Retry(attempts=3))
    assert (response.status, trace.attempts) == (503, 3)


def test_the_last_error_is_raised_when_attempts_run_out():
    error, trace, _ = run([TimedOut("a"), TimedOut("b")], Retry(attempts=2))
    assert isinstance(error, TimedOut)
    assert trace.attempts == 2


def test_what_will_not_change_is_not_tried_again():
    response, trace, _ = run([404, 200])
    assert (response.status, trace.attempts) == (404, 1)


def test_a_local_error_is_never_tried_again():
    with pytest.raises(KeyError):
        run([KeyError("bug"), 200])


def test_retry_waits_as_long_as_the_server_asks():
    _, trace, clock = run([(429, "7"), (503, "3"), 200])
    assert sum(clock.slept) == 10
    assert trace.throttles == 1


def test_throttling_uses_up_no_attempt():
    response, trace, _ = run([*[(429, "1")] * 20, 200], Retry(attempts=1))
    assert (response.status, trace.attempts, trace.throttles) == (200, 21, 20)


def test_the_deadline_bounds_throttling():
    response, _, clock = run([(429, "50")] * 9, Retry(deadline_seconds=120))
    assert response.status == 429
    assert clock.now - 1000 <= 120


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3), ("0.5", 0.5), ("-4", 0), (formatdate(90, usegmt=True), 60), (formatdate(1, usegmt=True), 0)],
)
def test_retry_after_is_seconds_or_a_date(text, seconds):
    assert retry_after({"retry-after": text}, lambda: 30.0) == seconds


@pytest.mark.parametrize("text", ["", "soon", "inf", "nan", "Mon, 99 Foo 2026"])
def test_a_retry_after_that_says_nothing_is_no_wait(text):
    assert retry_after({"retry-after": text}, lambda: 30.0) is None


@pytest.mark.parametrize("asked", ["0", formatdate(-3600, usegmt=True)])
def test_a_wait_that_is_over_already_is_a_wait_all_the_same(asked):
    answers = [(429, asked), (429, asked), 200]
    response, trace, clock = run(answers, Retry(attempts=1, backoff_seconds=1))
    assert (response.status, trace.throttles) == (200, 2)
    assert clock.slept == [1, 2], "else it would be asked again and again at once"
