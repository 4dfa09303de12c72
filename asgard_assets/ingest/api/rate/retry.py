"""Trying again: transport errors and the status codes that the source names, never a local exception."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from asgard_assets.ingest.api.http.messages import Request, Response, Send, TransportError
from asgard_assets.ingest.api.http.verdict import Judge
from asgard_assets.ingest.api.rate.lease import Clock, Sleep
from asgard_assets.ingest.api.rate.pacing import Pause
from asgard_assets.ingest.api.rate.quota import retry_after
from asgard_assets.ingest.api.source.models import Retry


class Retrying:
    """The middleware. Gives back the last answer, or raises the last error, when it gives up.

    Throttled answers, and those that are not ready yet, use up no attempt; the deadline bounds them. A wait beyond the deadline is not begun.
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
    ):
        self._policy, self._pause = policy, pause
        self._judge = judge or Judge(retry=policy.statuses, throttle=policy.throttle_statuses)
        self._clock, self._sleep, self._jitter, self._wall = clock, sleep, jitter, wall

    async def __call__(self, request: Request, send: Send) -> Response:
        policy, trace = self._policy, request.trace
        deadline = self._clock() + policy.deadline_seconds
        errors = throttles = later = 0
        while True:
            trace.attempts += 1
            failure: TransportError | None = None
            response: Response | None = None
            asked: float | None = None
            try:
                response = await send(request)
            except TransportError as error:
                failure = error
            verdict = None if response is None else self._judge.of(response)
            if response is not None and verdict is not None:
                if verdict.means != "throttle":
                    self._pause.answered()
                    if verdict.means not in ("retry", "not_yet"):
                        return response
                asked = retry_after(response.headers, self._wall)
                if asked is None:
                    asked = verdict.wait_seconds
            give_up = False
            if verdict is not None and verdict.means == "throttle":
                throttles += 1
                trace.throttles += 1
                # A wait of nothing, or a date that is past, would be asked and asked again.
                wait = asked or self._backoff(throttles)
                self._pause.throttled(min(wait, max(0.0, deadline - self._clock())))
            elif verdict is not None and verdict.means == "not_yet":
                later += 1
                wait = asked or self._backoff(later)
            else:
                errors += 1
                wait = max(asked or 0.0, self._backoff(errors))
                give_up = errors >= policy.attempts
            if give_up or self._clock() + wait > deadline:
                if response is None:
                    assert failure is not None
                    raise failure
                return response
            await self._sleep(wait)

    def _backoff(self, tries: int) -> float:
        """Full jitter: anywhere up to a bound that doubles."""
        bound = min(self._policy.max_backoff_seconds, self._policy.backoff_seconds * 2 ** min(tries - 1, 30))
        return bound * self._jitter()
