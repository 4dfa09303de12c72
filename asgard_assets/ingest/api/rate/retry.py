"""Trying again: transport errors and the status codes that the source names, never a local exception."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from asgard_assets.ingest.api.http.messages import LimitReached, Request, Response, Send, TransportError
from asgard_assets.ingest.api.http.verdict import Judge
from asgard_assets.ingest.api.rate.lease import Clock, Sleep, clock_time
from asgard_assets.ingest.api.rate.pacing import Pause
from asgard_assets.ingest.api.rate.quota import retry_after
from asgard_assets.ingest.api.source.models import Retry


class Retrying:
    """The middleware. Gives back the last answer, or raises the last error, when it gives up.

    Throttled answers, and those that are not ready yet, use up no attempt; the deadline bounds them, or
    `longest_wait`, where that is longer. A wait beyond it is not begun; the trace says why.
    """

    def __init__(
        self,
        policy: Retry,
        pause: Pause,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        wall: Clock = time.time,
        judge: Judge | None = None,
        longest_wait: float | None = None,
    ):
        self._policy, self._pause = policy, pause
        self._patience = max(policy.deadline_seconds, longest_wait or 0.0)
        self._judge = judge or Judge(retry=policy.statuses, throttle=policy.throttle_statuses)
        self._clock, self._sleep, self._jitter, self._wall = clock, sleep, jitter, wall

    async def __call__(self, request: Request, send: Send) -> Response:
        policy, trace = self._policy, request.trace
        began = self._clock()
        deadline, patient = began + policy.deadline_seconds, began + self._patience
        errors = throttles = later = 0
        last: Response | None = None
        while True:
            trace.attempts += 1
            failure: TransportError | None = None
            response: Response | None = None
            asked: float | None = None
            try:
                response = await send(request)
            except TransportError as error:
                failure = error
            except LimitReached as error:
                trace.attempts -= 1  # it was not sent
                if last is None:
                    raise
                trace.gave_up = error.message
                return last
            verdict = None
            if response is not None:
                verdict = response.verdict or self._judge.of(response)
                if verdict.means != "throttle":
                    self._pause.answered()
                    if verdict.means != "retry" and verdict.means != "not_yet":  # noqa: PLR1714  asked for each row
                        return response
            trace.deadline, last = patient, response or last
            if response is not None and verdict is not None:
                asked = retry_after(response.headers, self._wall)
                if asked is None:
                    asked = verdict.wait_seconds
            give_up, until = False, patient
            if verdict is not None and verdict.means == "throttle":
                throttles += 1
                trace.throttles += 1
                # A wait of nothing, or a date that is past, would be asked and asked again.
                wait = asked or self._backoff(throttles)
                self._pause.throttled(wait if self._clock() + wait <= until else 0.0)
            elif verdict is not None and verdict.means == "not_yet":
                later += 1
                wait = asked or self._backoff(later)
            else:
                errors += 1
                wait = max(asked or 0.0, self._backoff(errors))
                give_up, until = errors >= policy.attempts, deadline
            if give_up or self._clock() + wait > until:
                if response is None:
                    assert failure is not None
                    raise failure
                if not give_up:
                    trace.gave_up = self._waited(asked, self._clock() - began, until - began)
                return response
            await self._sleep(wait)

    def _waited(self, asked: float | None, so_far: float, most: float) -> str:
        """Why no other try is made."""
        said = (
            ""
            if asked is None
            else f"the API asks to wait until {clock_time(self._wall() + asked)}, {asked:,.0f} s; "
        )
        return (
            f"{said}after {so_far:,.0f} s it was given up, for a request waits {most:g} s at most "
            "(limits.longest_wait_seconds, else retry.deadline_seconds)"
        )

    def _backoff(self, tries: int) -> float:
        """Full jitter: anywhere up to a bound that doubles."""
        bound = min(self._policy.max_backoff_seconds, self._policy.backoff_seconds * 2 ** min(tries - 1, 30))
        return bound * self._jitter()
