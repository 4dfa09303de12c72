"""How many requests a host gets at once: fewer when it answers late or fails, more again when it recovers.

Rates are the business of `limits`; a throttled answer changes nothing here. What counts is a host's own state:
server errors, broken connections, and answers that come much later than this host's usually do.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from asgard_assets.ingest.api.http.messages import Request, Response, Send, TransportError
from asgard_assets.ingest.api.rate.lease import Clock

_WINDOW = 20  # answers at least before anything changes
_SHRINK, _GROW = 0.7, 1.1
_FOLLOW_UP, _FOLLOW_DOWN = 0.05, 0.3
_NOTICEABLE_SECONDS = 0.1


@dataclass(slots=True)
class HostCounts:
    """How a host answered, over a whole task: tries, those without a usable answer, seconds of all and of the
    slowest."""

    tries: int = 0
    bad: int = 0
    seconds: float = 0.0
    slowest: float = 0.0


class Host:
    """Concurrency of one host: multiplicative decrease once a window, growth by a tenth a window.

    Late is an answer time of at least `late_factor` times the usual one. The usual follows quickly downwards
    and slowly upwards: a host that has become slower for good is in the end taken as it is.
    """

    def __init__(self, most: int, late_factor: float, bad_share: float):
        self.most, self.limit = most, float(most)
        self._places = most
        self._late, self._bad_share = late_factor, bad_share
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._usual: float | None = None
        self._answers = self._bad = 0
        self._seconds = self._slowest = 0.0
        self._counts = HostCounts()

    @property
    def seen(self) -> HostCounts:
        """How it answered until now."""
        before = self._counts
        return HostCounts(
            before.tries + self._answers,
            before.bad + self._bad,
            before.seconds + self._seconds,
            self._slowest,
        )

    def entered(self) -> bool:
        """Take a place, if one is free."""
        free = self._in_flight < self._places
        self._in_flight += free
        return free

    async def enter(self) -> None:
        """Wait for a place."""
        while self._in_flight >= self._places:
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                self._wake()
                raise
        self._in_flight += 1

    def leave(self, seconds: float, bad: bool) -> None:
        """Give the place back; `bad` is a server error or no answer."""
        self._in_flight -= 1
        if bad:
            self._bad += 1
        self._answers += 1
        self._seconds += seconds
        if seconds > self._slowest:
            self._slowest = seconds
        if self._answers >= _WINDOW and self._answers >= self.limit:
            self._judge()
        if self._waiting:
            self._wake()

    def _judge(self) -> None:
        mean, share = self._seconds / self._answers, self._bad / self._answers
        self._counts = self.seen
        self._answers = self._bad = 0
        self._seconds = 0.0
        usual = mean if self._usual is None else self._usual
        late = mean >= self._late * usual and mean - usual >= _NOTICEABLE_SECONDS
        if late or share >= self._bad_share:
            self.limit = max(1.0, self.limit * _SHRINK)
        else:
            self.limit = min(float(self.most), self.limit * _GROW + 0.5)
        self._places = int(self.limit)
        self._usual = usual + (mean - usual) * (_FOLLOW_UP if mean > usual else _FOLLOW_DOWN)

    def _wake(self) -> None:
        free = self._places - self._in_flight
        while self._waiting and free > 0:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                free -= 1


class Pressure:
    """The middleware around one try on the wire."""

    def __init__(
        self,
        most: int,
        base_url: str,
        late_factor: float = 2.0,
        bad_share: float = 0.2,
        clock: Clock = time.monotonic,
    ):
        self._new = lambda: Host(most, late_factor, bad_share)
        self._base, self._clock = f"{base_url.rstrip('/')}/", clock
        self._usual = self._new()
        self._hosts = {urlsplit(base_url).netloc: self._usual}

    def host(self, url: str) -> Host:
        """The state of a URL's host and port."""
        if url.startswith(self._base):
            return self._usual
        name = urlsplit(url).netloc
        return self._hosts.get(name) or self._hosts.setdefault(name, self._new())

    def seen(self) -> Iterator[tuple[str, HostCounts]]:
        """The hosts that were asked, the slowest first."""
        asked = [(name, host.seen) for name, host in self._hosts.items() if host.seen.tries]
        yield from sorted(asked, key=lambda pair: -pair[1].seconds / pair[1].tries)

    async def __call__(self, request: Request, send: Send) -> Response:
        host = self._usual if request.url.startswith(self._base) else self.host(request.url)
        if not host.entered():
            await host.enter()
        began, bad = self._clock(), False
        try:
            response = await send(request)
            bad = response.status >= 500
            return response
        except TransportError:
            bad = True
            raise
        finally:
            host.leave(self._clock() - began, bad)
