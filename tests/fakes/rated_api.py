"""APIs that limit their clients, without a network: what arrived when, and who was refused."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


def fullest_second(arrivals: Sequence[float]) -> int:
    """The largest number of arrivals in any sliding window of one second."""
    times = sorted(arrivals)
    return max((bisect.bisect_left(times, at + 1.0) - n for n, at in enumerate(times)), default=0)


@dataclass
class Bucket:
    """A token bucket: `rate` tokens a second, at most `burst` of them; a refusal asks to wait."""

    rate: float
    burst: float
    wait: Mapping[str, str] = field(default_factory=lambda: {"retry-after": "1"})
    arrivals: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    _tokens: float | None = None
    _last: float = 0.0

    def arrive(self, now: float) -> tuple[int, Mapping[str, str]]:
        tokens = self.burst if self._tokens is None else self._tokens + (now - self._last) * self.rate
        tokens, self._last = min(tokens, self.burst), now
        self.arrivals.append(now)
        if tokens < 1:
            self._tokens = tokens
            self.refused.append(now)
            return 429, self.wait
        self._tokens = tokens - 1
        return 200, {}


@dataclass
class Windows:
    """`limit` requests in each fixed window of `length` seconds, told in headers of a given style."""

    limit: int
    length: float
    style: str
    arrivals: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    _window: float = -1.0
    _used: int = 0

    def arrive(self, now: float) -> tuple[int, Mapping[str, str]]:
        if now // self.length != self._window:
            self._window, self._used = now // self.length, 0
        self.arrivals.append(now)
        left = (self._window + 1) * self.length - now
        if self._used >= self.limit:
            self.refused.append(now)
            return 429, self._headers(0, left) | {"retry-after": str(int(left) + 1)}
        self._used += 1
        return 200, self._headers(self.limit - self._used, left)

    def _headers(self, remaining: int, left: float) -> dict[str, str]:
        reset = str(int(left) + 1)
        match self.style:
            case "x":
                return {
                    "x-ratelimit-limit": str(self.limit),
                    "x-ratelimit-remaining": str(remaining),
                    "x-ratelimit-reset": reset,
                }
            case "ietf":
                return {
                    "ratelimit-policy": f'"default";q={self.limit};w={self.length:g}',
                    "ratelimit": f'"default";r={remaining};t={reset}',
                }
        return {}
