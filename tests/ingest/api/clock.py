"""Clocks that only move when somebody sleeps."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Clock:
    def __init__(self, start: float = 1000.0) -> None:
        self.now = start
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class _NoWait(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Nothing comes from outside: waiting is only time that passes."""

    now = 1000.0

    def select(self, timeout: float | None = None):  # type: ignore[override]
        found = super().select(0)
        if not found and timeout:
            self.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer: an hour of sleeping costs what it computes."""

    def __init__(self) -> None:
        self._virtual = _NoWait()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._virtual.now


def virtually(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in virtual time, which begins at 1000."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def now() -> float:
    """The running loop's time: virtual inside `virtually`."""
    return asyncio.get_running_loop().time()
