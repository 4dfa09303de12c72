"""A pool of Spark Connect sessions: borrowed by an owner, cleaned for the next step, replaced when they are dead."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Any, Protocol

from asgard_assets.errors import SparkServerError

log = logging.getLogger(__name__)


class Source(Protocol):
    """Where sessions come from; `connect.sessions.Sessions`, but for tests."""

    def open(self) -> Any: ...

    def clean(self, session: Any) -> bool: ...

    def close(self, session: Any) -> None: ...


class SessionPool:
    """At most `size` sessions, borrowed and idle ones together. A session goes only to the owner for whom it was opened.

    A session whose borrower failed is closed: nobody knows what runs in it. One that comes back well is cleaned before the
    next borrower gets it, and closed where it cannot be: a single step then waits for no cleaning.
    """

    def __init__(self, source: Source, size: int, wait_seconds: float) -> None:
        self.source, self.size, self.wait_seconds = source, size, wait_seconds
        self._idle: list[tuple[str, Any]] = []  # the oldest first
        self._borrowed: list[str] = []
        self._changed = Condition()

    @contextmanager
    def session(self, owner: str) -> Iterator[Any]:
        """A session of the owner. Raises SparkServerError where none is free within `wait_seconds`, or the server is away."""
        session = self.borrow(owner)
        try:
            yield session
        except BaseException:
            self.give_back(owner, session, failed=True)
            raise
        self.give_back(owner, session)

    def borrow(self, owner: str) -> Any:
        """As `session`, for callers that give it back themselves."""
        self._take_place(owner)
        try:
            while (idle := self._idle_of(owner)) is not None:
                if self.source.clean(idle):
                    return idle
                log.info("a Spark Connect session of %s cannot be used again: another one is opened", owner)
                self.source.close(idle)
            return self.source.open()
        except BaseException:
            self._leave_place(owner)
            raise

    def give_back(self, owner: str, session: Any, failed: bool = False) -> None:
        """Keep the session for its owner's next step, or close it where its borrower failed."""
        try:
            if failed:
                self.source.close(session)
        finally:
            self._leave_place(owner, None if failed else session)

    def close(self) -> None:
        """Close the idle sessions."""
        with self._changed:
            idle, self._idle = self._idle, []
        for _, session in idle:
            self.source.close(session)

    def _take_place(self, owner: str) -> None:
        deadline = time.monotonic() + self.wait_seconds
        with self._changed:
            while len(self._borrowed) >= self.size:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise SparkServerError(
                        f"all {self.size} Spark sessions are in use ({', '.join(sorted(set(self._borrowed)))}), and none came "
                        f"back within {self.wait_seconds:g} s. Run fewer steps at once, or raise SPARK_SESSION_POOL_SIZE"
                    )
                self._changed.wait(left)
            self._borrowed.append(owner)
            over = len(self._borrowed) + len(self._idle) - self.size
            others = [each for each in self._idle if each[0] != owner]
            closing = (others or self._idle)[: max(0, over)] if self._needs_room(owner, over) else []
            for each in closing:
                self._idle.remove(each)
        for _, session in closing:
            self.source.close(session)

    def _needs_room(self, owner: str, over: int) -> bool:
        return over > 0 and not any(each[0] == owner for each in self._idle)

    def _idle_of(self, owner: str) -> Any:
        with self._changed:
            found = next((each for each in reversed(self._idle) if each[0] == owner), None)
            if found is None:
                return None
            self._idle.remove(found)
            return found[1]

    def _leave_place(self, owner: str, session: Any = None) -> None:
        with self._changed:
            self._borrowed.remove(owner)
            if session is not None:
                self._idle.append((owner, session))
            self._changed.notify()
