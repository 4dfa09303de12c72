"""When a request of one task may leave: a throttled pool waits, and a budget is used turn by turn."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Collection

from asgard_assets.ingest.api.http.messages import LimitReached, Request, Response, Send, TransportError
from asgard_assets.ingest.api.http.verdict import Judge
from asgard_assets.ingest.api.rate.lease import Clock, Lease, Lessor, Observed, Sleep, clock_time
from asgard_assets.ingest.api.rate.quota import Quota, quota, retry_after

_WINDOW, _GROUP = 32, 8
_LATE = 0.025  # seconds that a request may leave after its turn; later it would add to others' turns
_TELL_SECONDS = 0.1
_LOOK_SECONDS = 1.0  # after which an API that is closed is asked about again


class Pause:
    """A gate for all workers of one pool.

    One throttled answer among many good ones means that resource, not the whole client: it delays only its
    own request. Where at least `share` of the last answers were throttled, the whole pool waits.
    """

    def __init__(self, share: float = 0.0, clock: Clock = time.monotonic, sleep: Sleep = asyncio.sleep):
        self._share, self._clock, self._sleep = share, clock, sleep
        self.until = 0.0
        self._groups: deque[tuple[float, int, int]] = deque()  # when, answers, those that were throttled
        self._good = 0  # answers since the last group
        self._counted = self._refused = 0

    def answered(self) -> None:
        """Count an answer that was not throttled."""
        self._good += 1
        if self._good >= _GROUP:
            self._count(0)

    def throttled(self, seconds: float) -> None:
        """Count a throttled answer that asks to wait for `seconds`."""
        self._count(1)
        if self._refused >= self._share * self._counted:
            self.until = max(self.until, self._clock() + seconds)

    def _count(self, refused: int) -> None:
        """Of the last second's answers, or of the last few where those are more; good ones by groups, as they are many."""
        now, groups = self._clock(), self._groups
        groups.append((now, self._good + refused, refused))
        self._counted += self._good + refused
        self._refused += refused
        self._good = 0
        while groups[0][0] < now - 1.0 and self._counted - groups[0][1] >= _WINDOW:
            _, answers, refused = groups.popleft()
            self._counted -= answers
            self._refused -= refused

    async def over(self) -> None:
        """Wait until no pause holds; one that is prolonged meanwhile counts too."""
        while (left := self.until - self._clock()) > 0:
            await self._sleep(left)


class Gate:
    """Lets requests through at the turns that it leases for them, in the order in which they came.

    `free` until the lessor says otherwise: then nothing is asked, and what the API says about its limits is
    told as it comes. `patience`: seconds that a request waits because the API asks for it. `heed`: whether
    headers about limits are looked at. Raises TransportError where the lessor is gone.
    """

    def __init__(
        self,
        lessor: Lessor,
        *,
        free: bool,
        throttle_statuses: Collection[int] = (429,),
        judge: Judge | None = None,
        patience: float = 120.0,
        heed: bool = True,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        wall: Clock = time.time,
    ):
        self._lessor, self.free, self._patience, self._heed = lessor, free, patience, heed
        self._judge = judge or Judge(throttle=frozenset(throttle_statuses))
        self._clock, self._sleep, self._wall = clock, sleep, wall
        self._waiting: deque[tuple[asyncio.Future[float], float | None]] = deque()
        self._busy: asyncio.Task[None] | None = None
        self.in_flight = 0
        self._forget()

    def _forget(self) -> None:
        self._answered = self._throttled = self._before = self._missed = 0
        self._second = self._clock()
        self._refused_sent, self._hold = 0.0, 0.0
        self._quota: Quota | None = None
        self._quota_sent = 0.0
        self._shut = False

    async def turn(self, deadline: float | None = None) -> None:
        """Returns when this request may leave. Raises LimitReached where the API serves nothing before `deadline`,
        or, without one, for longer than the patience.
        """
        while not self.free:
            mine = asyncio.get_running_loop().create_future()
            self._waiting.append((mine, deadline))
            self._work()
            at = await mine
            if (left := at - self._clock()) > 0:
                await self._sleep(left)
            if self._clock() - at <= _LATE:
                break
            self._missed += 1
        self.in_flight += 1

    def left(self, sent: float, response: Response | None) -> None:
        """The request that left at `sent` is done; an answer is looked at for what it says about limits."""
        self.in_flight -= 1
        if response is None:
            return
        if (response.verdict or self._judge.of(response)).means == "throttle":
            self._throttled += 1
            self._refused_sent = max(self._refused_sent, sent)
            self._hold = max(self._hold, retry_after(response.headers, self._wall) or 0.0)
        else:
            # Of a long time in which nothing was told, only the last second or two count.
            if sent - self._second >= 1 and self.free:
                self._before, self._answered, self._second = self._answered, 0, sent
            self._answered += 1
        if self._heed and (told := quota(response.headers, self._wall)):
            self._quota, self._quota_sent = told, sent
            if told.remaining == 0 and told.reset is not None:
                self.free, self._shut = (
                    False,
                    True,
                )  # the next request must not leave before the lessor knows
        if self._hold or self._shut or (self.free and (self._throttled or self._quota)):
            self._work()

    def _work(self) -> None:
        if self._busy is None:
            self._busy = asyncio.create_task(self._lease())
            self._busy.add_done_callback(self._idle)

    def _idle(self, _: asyncio.Task[None]) -> None:
        self._busy = None
        if self._waiting:
            self._work()

    async def _lease(self) -> None:
        """Lease for those who wait; where everything is free, tell what was seen."""
        try:
            while True:
                while self._waiting and self._waiting[0][0].cancelled():
                    self._waiting.popleft()
                lease = await self._lessor.lease(len(self._waiting), self._seen())
                now, self.free = self._clock(), lease.free and not self._shut
                if lease.closed:
                    self._turn_away(now, lease)
                    if self._waiting:
                        await self._sleep(min(lease.closed, _LOOK_SECONDS))
                for turn in range(len(self._waiting) if lease.free else lease.count):
                    if not self._waiting:
                        break
                    first, _ = self._waiting.popleft()
                    if not first.done():
                        first.set_result(now + lease.start + turn * lease.gap)
                if not self._waiting:
                    break
            if self.free:
                await self._sleep(_TELL_SECONDS)
        except TransportError as error:
            while self._waiting:
                first, _ = self._waiting.popleft()
                if not first.done():
                    first.set_exception(error)

    def _turn_away(self, now: float, lease: Lease) -> None:
        """Those that may not wait as long as the API is closed are not sent."""
        until, staying = now + lease.closed, list[tuple[asyncio.Future[float], float | None]]()
        for one, deadline in self._waiting:
            if until <= (now + self._patience if deadline is None else deadline):
                staying.append((one, deadline))
            elif not one.done():
                one.set_exception(LimitReached(refusal(lease, self._wall(), self._patience)))
        self._waiting = deque(staying)

    def _seen(self) -> Observed | None:
        if not (self._answered or self._throttled or self._quota or self._missed):
            return None
        now, told = self._clock(), self._quota or Quota()
        seen = Observed(
            max(self._answered, self._before),
            self._throttled,
            now - self._refused_sent if self._throttled else 0.0,
            self._hold,
            told.remaining,
            told.reset,
            told.limit,
            told.window,
            now - self._quota_sent if self._quota else 0.0,
            self.in_flight,
            self._missed,
            told.said,
        )
        self._forget()
        return seen


def refusal(lease: Lease, wall: float, patience: float) -> str:
    """Why a request was not sent, and what to do."""
    if math.isinf(lease.closed):
        return (
            f"not sent: {lease.why}; run it again later, or raise limits.longest_wait_seconds ({patience:g})"
        )
    return (
        f"not sent: {lease.why}, and it serves again at {clock_time(wall + lease.closed)}, in "
        f"{lease.closed:,.0f} s; a request waits {patience:g} s at most (limits.longest_wait_seconds, else "
        "retry.deadline_seconds). Run it again then, or raise that; if the header means something else, set "
        "limits.headers: ignore"
    )


class Limiting:
    """The middleware: every try waits for the pause to be over and for its turn."""

    def __init__(self, pause: Pause, gate: Gate | None, clock: Clock = time.monotonic):
        self._pause, self._gate, self._clock = pause, gate, clock

    async def __call__(self, request: Request, send: Send) -> Response:
        gate, sent, response = self._gate, self._clock(), None
        if self._pause.until > sent:
            await self._pause.over()
            sent = self._clock()
        if gate is None:
            return await send(request)
        if gate.free:
            gate.in_flight += 1
        else:
            await gate.turn(request.trace.deadline)
            sent = self._clock()
        try:
            response = await send(request)
            return response
        finally:
            gate.left(sent, response)
