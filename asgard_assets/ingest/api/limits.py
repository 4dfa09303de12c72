"""When a request may leave: a declared rate is paced, a throttled pool waits."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from asgard_assets.ingest.api.messages import Request, Response, Send

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]

_WINDOW = 32


class Pause:
    """A gate for all workers of one pool.

    One throttled answer among many good ones means that resource, not the whole client: it delays only its
    own request. Where at least `share` of the last answers were throttled, the whole pool waits.
    """

    def __init__(self, share: float = 0.0, clock: Clock = time.monotonic, sleep: Sleep = asyncio.sleep):
        self._share, self._clock, self._sleep = share, clock, sleep
        self._until = 0.0
        self._answers: deque[bool] = deque(maxlen=_WINDOW)

    def answered(self) -> None:
        """Count an answer that was not throttled."""
        self._answers.append(False)

    def throttled(self, seconds: float) -> None:
        """Count a throttled answer that asks to wait for `seconds`."""
        self._answers.append(True)
        if sum(self._answers) >= self._share * len(self._answers):
            self._until = max(self._until, self._clock() + seconds)

    async def over(self) -> None:
        """Wait until no pause holds; one that is prolonged meanwhile counts too."""
        while (left := self._until - self._clock()) > 0:
            await self._sleep(left)


class Pacer:
    """Even spacing: at most one request every `1 / rate` seconds, and no burst after a lull."""

    def __init__(self, rate: float | None, clock: Clock = time.monotonic, sleep: Sleep = asyncio.sleep):
        self._gap = 1 / rate if rate else 0.0
        self._clock, self._sleep = clock, sleep
        self._next = 0.0

    async def turn(self) -> None:
        if not self._gap:
            return
        now = self._clock()
        mine = max(now, self._next)
        self._next = mine + self._gap
        if mine > now:
            await self._sleep(mine - now)


class Limiting:
    """The middleware: every try waits for the pause to be over and for its turn."""

    def __init__(self, pause: Pause, pacer: Pacer):
        self._pause, self._pacer = pause, pacer

    async def __call__(self, request: Request, send: Send) -> Response:
        await self._pause.over()
        await self._pacer.turn()
        return await send(request)
