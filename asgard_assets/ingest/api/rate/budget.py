"""The rate budget of a whole job, kept on the driver: declared, told by the API, or learned from its refusals.

Workers lease *turns*: instants at which one request may leave. There is one schedule of turns for all of them,
so that whatever worker comes, goes or dies, no second holds more than the budget. A turn that nobody asked
for is gone: a lull earns no burst.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable

from asgard_assets.ingest.api.rate.lease import Clock, Lease, Observed, Sleep, Wait
from asgard_assets.ingest.api.rate.quota import Quota

log = logging.getLogger(__name__)

HEADROOM = 0.985
"""Share of a declared rate that is used: networks bunch what left evenly."""

_CATCH_UP = 1.03  # turns that were missed are made up for so slowly that no second is fuller than the budget
_LEAD = 0.005  # a turn lies so far ahead that its worker hears of it in time
_HORIZON = 0.15  # no turn is leased earlier than this ahead: another worker may want it
_BLOCK = 0.1  # seconds of the budget in one lease
_CUT = 0.1  # share that a refusal costs
_STEEPNESS = 0.0004  # of the way back up: 6.3 s to the last ceiling, flat there, then beyond
_LOW = 4.0  # seconds after a cut in which the rate is surely below what the API bore before
_TRIALS = 3  # cuts in a row that ought to help; refusals that stay few in spite of them are no matter of rate
_NOISE_SECONDS = 30.0
_FEW = 32  # answers from which a share is told
_STEADY = 5.0  # seconds over which is counted what the API bears, once it does not serve from a reserve
_SLOW = 8.0  # requests a second that are tried without proof
_EVEN_WINDOW = 10.0  # a quota over at most so many seconds is spread evenly, a longer one counted down
_UNPACED = 10_000.0  # turns a second where nothing but a count limits
_NEAR = 1.0  # seconds that a lease waits for an API that is closed; of longer ones it tells
_TOLD = 5.0  # seconds from which a wait is worth a word
_FOREVER = 366 * 86400.0
_WAITS = 20  # of which a job keeps account
_CERTAIN = 3  # refusals in a row
_REFUSALS = 8  # in a row, over all of the patience: the API refuses everything


class Budget:
    """The lessor itself. `declared` requests a second are never exceeded; without, the limit is learned.

    `pause_share`: Retry-After holds everybody where at least this share of the last answers were refused.
    `patience`: seconds that a request may wait because the API asks for it. `tell` hears of each such wait as it
    begins.
    """

    def __init__(
        self,
        declared: float | None = None,
        pause_share: float = 0.1,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        patience: float = math.inf,
        tell: Callable[[Wait], None] | None = None,
        wall: Clock = time.time,
    ):
        self._patience, self._wall = patience, wall
        self._tell = tell or (lambda wait: log.warning("%s", wait))
        self.waits: list[Wait] = []
        self._hold_said, self._refused_since, self._refusals_in_a_row = "", 0.0, 0
        self._declared, self._share = declared, pause_share
        self._clock, self._sleep = clock, sleep
        self._turn = asyncio.Lock()
        self._next = 0.0
        self._held_until = 0.0
        self._owed = 0.0
        self._answers: deque[tuple[float, int, int]] = deque()  # when, good ones, refused ones
        self._learned = _Learned()
        self._told: float | None = None
        self._settled_at = float("-inf")
        self._count = _Countdown()

    async def lease(self, want: int, seen: Observed | None) -> Lease:
        if seen is not None:
            self._learn(seen)
        if self._rate() is None and self._count.left is None:
            return Lease(free=True)
        if want <= 0:
            return Lease()
        async with self._turn:
            while True:
                now = self._clock()
                allowed = self._count.at(now)
                until, why = self._closed(now, allowed)
                if until - now > _NEAR:
                    self._account(until - now, why)
                    return Lease(closed=until - now, why=why)
                start = max(self._next, until, now + _LEAD)
                if start - now <= _HORIZON:
                    break
                await self._sleep(min(start - now - _HORIZON / 2, 1.0))
            rate = self._rate() or _UNPACED
            if allowed is not None:
                spread = self._count.spread(now)
                rate = min(rate, spread) if spread else rate
            if self._owed >= 1:
                rate *= _CATCH_UP
            count = min(want, max(1, int(min(want, _BLOCK * rate))))
            if allowed is not None:
                count = max(1, int(min(count, allowed)))
            self._next = start + count / rate
            self._owed = max(0.0, self._owed - count * (1 - 1 / _CATCH_UP))
            self._count.granted(start, count)
            return Lease(False, start - self._clock(), 1 / rate, count)

    @property
    def waiting(self) -> str:
        """What everybody waits for now, and until when; empty where nothing but our own pace is waited for."""
        last = self.waits[-1] if self.waits else None
        return str(last) if last and last.waited and last.until > self._wall() else ""

    def _closed(self, now: float, allowed: float | None) -> tuple[float, str]:
        """Until when the API says that it serves nothing, and how it says so."""
        if self._refusals_in_a_row >= _REFUSALS and now - self._refused_since >= self._patience:
            return math.inf, f"the API refused every request of the last {now - self._refused_since:,.0f} s"
        until, why = self._held_until, self._hold_said
        if allowed is not None and allowed < 1 and self._count.until > until:
            until, why = self._count.until, f"the API's limit is used up ({self._count.said})"
        return until, why

    def _account(self, seconds: float, why: str) -> None:
        """Keep and tell a wait; one that goes on, or ends a little later than was told, is the same."""
        lasts = min(seconds, _FOREVER)
        wait = Wait(why, lasts, self._wall() + lasts, lasts <= self._patience)
        last = self.waits[-1] if self.waits else None
        if seconds < _TOLD or (last and wait.until <= last.until + _TOLD):
            return
        if len(self.waits) >= _WAITS:
            del self.waits[0]
        self.waits.append(wait)
        self._tell(wait)

    def _rate(self) -> float | None:
        """Turns a second now; None where nothing is known to limit."""
        limits = [
            self._declared * HEADROOM if self._declared else None,
            self._told,
            self._learned.rate(self._clock(), self._accepted()),
        ]
        return min((limit for limit in limits if limit is not None), default=None)

    def _learn(self, seen: Observed) -> None:
        now = self._clock()
        self._owed = min(self._owed + seen.missed, rate) if (rate := self._rate()) else 0.0
        self._answers.append((now, seen.answered, seen.throttled))
        while self._answers[0][0] < now - _STEADY:
            self._answers.popleft()
        if seen.remaining is not None or seen.window is not None:
            self._heed(now, seen)
        self._count_refusals(now, seen)
        if not seen.throttled:
            return
        refused, share = self._refusals(now)
        heavy = share >= self._share
        # A wait of hours closes the API only where nothing but refusals comes: it may mean that resource alone.
        certain = seen.hold <= self._patience or self._refusals_in_a_row >= _CERTAIN
        if seen.hold and heavy and certain:
            self._held_until = max(self._held_until, now + seen.hold)
            self._hold_said = f"the API asks for it (retry-after: {seen.hold:,.0f} s)"
            self._account(seen.hold, self._hold_said)
        if self._count.left is not None:
            return  # the API counts, and says from when on it serves again
        sent = now - seen.age
        if self._declared or self._told:
            # The limit is known: one refusal beside many answers is the network's unevenness.
            if sent < self._settled_at + _HORIZON or not (heavy or (refused >= 3 and share >= 0.02)):
                return
        self._learned.refused(sent, now, self._accepted, heavy)

    def _count_refusals(self, now: float, seen: Observed) -> None:
        """How long, and how often, nothing but refusals came."""
        if seen.answered:
            self._refusals_in_a_row = 0
        elif seen.throttled:
            self._refused_since = self._refused_since if self._refusals_in_a_row else now - seen.age
            self._refusals_in_a_row += seen.throttled

    def _refusals(self, now: float) -> tuple[int, float]:
        """How many, and their share, of the last second's answers, or of the last few where those are more."""
        good = refused = 0
        for at, answered, throttled in reversed(self._answers):
            if at < now - 1.0 and good + refused >= _FEW:
                break
            good, refused = good + answered, refused + throttled
        return refused, refused / max(1, good + refused)

    def _heed(self, now: float, seen: Observed) -> None:
        quota = Quota(seen.remaining, seen.reset, seen.limit, seen.window, seen.said)
        if quota.limit and quota.window and (quota.window <= _EVEN_WINDOW or quota.remaining is None):
            if self._told is None:
                # What was sent before counts in the API's window for as long as that lasts.
                self._settled_at = now + min(quota.window, _EVEN_WINDOW)
            self._told = max(quota.limit / quota.window * HEADROOM, 1e-3)
        elif quota.remaining is not None and quota.reset is not None:
            self._count.told(now, quota, seen.quota_age, seen.in_flight)

    def _accepted(self, seconds: float = 1.0) -> float:
        """Good answers a second, over the last seconds; of a first moment, too few."""
        since = self._clock() - seconds
        return sum(answer[1] for answer in self._answers if answer[0] >= since) / seconds


class _Learned:
    """A rate that the API bore: doubles each second until refused, then keeps near the last ceiling (as TCP
    CUBIC does): a little below it, long beside it, then beyond it."""

    def __init__(self) -> None:
        self._ceiling = 0.0
        self._cut_at = float("-inf")
        self._back = (_CUT / _STEEPNESS) ** (1 / 3)
        self._climbing = False
        self._trials = 0
        self._before = 0.0
        self._noisy_until = float("-inf")
        self._first: float | None = None

    def rate(self, now: float, accepted: float) -> float | None:
        if not self._ceiling:
            return None
        since = now - self._cut_at
        if self._climbing:
            rate = self._ceiling * 2 ** min(since, 40.0)
        else:
            rate = self._ceiling * (1 + _STEEPNESS * (since - self._back) ** 3)
        # What is not used is not known to be borne.
        return min(rate, max(self._ceiling * (1 - _CUT), 2 * accepted, _SLOW))

    def refused(self, sent: float, now: float, accepted: Callable[[float], float], heavy: bool) -> None:
        """A request that left at `sent` was refused; `heavy`: as were many others."""
        if sent < self._cut_at + _HORIZON or (not heavy and now < self._noisy_until):
            return  # it left by a turn from before the cut; or it is that resource, not the rate
        current = self.rate(now, accepted(1.0))
        if current is None:
            # Unlimited until now: what was borne in a moment is mostly the API's patience with bursts.
            if heavy:
                self._cut(max(accepted(1.0), _SLOW), now, climbing=True)
            elif self._first is None:
                self._first = now
            elif now - self._first >= 1.0:
                self._cut(accepted(1.0), now)
            return
        soon = not self._climbing and now - self._cut_at < _LOW
        self._trials = self._trials + 1 if soon and not heavy else 0
        if self._trials > _TRIALS:
            self._cut(self._before, now)
            self._noisy_until = now + _NOISE_SECONDS
            return
        if not self._trials:
            self._before = current
        borne = accepted(1.0 if self._climbing else min(_STEADY, max(1.0, now - self._cut_at)))
        self._cut(max(min(current, borne), current / 2, 0.1), now)

    def _cut(self, ceiling: float, now: float, climbing: bool = False) -> None:
        self._ceiling, self._climbing, self._cut_at = ceiling, climbing, now


class _Countdown:
    """Requests left until the API's own reset, less those that are on their way."""

    def __init__(self) -> None:
        self.left: float | None = None
        self.until, self.said = 0.0, ""
        self._limit: float | None = None
        self._began = 0.0
        self._grants: deque[tuple[float, int]] = deque()

    def told(self, now: float, quota: Quota, age: float, in_flight: int) -> None:
        assert quota.remaining is not None
        assert quota.reset is not None
        while self._grants and self._grants[0][0] < now - age:
            self._grants.popleft()
        on_the_way = max(in_flight, sum(count for _, count in self._grants))
        self.left = max(0.0, quota.remaining - on_the_way)
        self.until, self._limit, self._began = now + quota.reset, quota.limit, now
        self.said = quota.said

    def at(self, now: float) -> float | None:
        """What is left at `now`; after the reset the whole limit, or a first few where it is not known."""
        if self.left is not None and now >= self.until:
            if self._limit and self.until > self._began:
                self.left, length = self._limit, max(self.until - self._began, 1.0)
                self._began, self.until = now, now + length
            else:
                self.left, self._began, self.until = 10.0, now, now + 1.0
        return self.left

    def spread(self, now: float) -> float | None:
        """Turns a second that use up what is left by the reset; None where the window is long."""
        length = self.until - now
        if self.left is None or self.left < 1 or not 0 < length <= _EVEN_WINDOW:
            return None
        return max(self.left / length, 0.1)

    def granted(self, when: float, count: int) -> None:
        if self.left is not None:
            self.left -= count
            self._grants.append((when, count))
