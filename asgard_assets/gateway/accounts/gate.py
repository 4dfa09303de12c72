"""Lets in who has a key, and no more requests than an account may send."""

from __future__ import annotations

import time
from collections.abc import Callable

from asgard_assets.gateway.accounts.roles import LOCAL, Caller
from asgard_assets.gateway.accounts.store import Accounts
from asgard_assets.gateway.problems import RefusedError

_KNOWN_SECONDS = 2.0
_LOGIN = {"WWW-Authenticate": "Bearer"}
_MOST_KNOWN = 10_000


class Gate:
    """While there is no account, everybody on this machine is let in. `rate`: requests a second of one account."""

    def __init__(self, accounts: Accounts, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.accounts, self._rate, self._clock = accounts, rate, clock
        self._known: dict[str, tuple[float, Caller | None]] = {}
        self._left: dict[str, tuple[float, float]] = {}
        self._open = (-_KNOWN_SECONDS, False)

    @property
    def open(self) -> bool:
        """Whether nobody has to log in: there is no account. An answer is good for two seconds."""
        now = self._clock()
        if now - self._open[0] >= _KNOWN_SECONDS:
            self._open = (now, not self.accounts.list())
        return self._open[1]

    def caller(self, authorization: str) -> Caller:
        """Who sends this. Raises RefusedError: 401 without a valid key, 429 where too many requests came."""
        if self.open:
            return LOCAL
        kind, _, key = authorization.partition(" ")
        found = self._look(key.strip()) if kind.lower() == "bearer" else None
        if found is None:
            raise RefusedError(
                401,
                "no valid key: send the header Authorization: Bearer KEY. `asgard account key` makes one",
                _LOGIN,
            )
        self.count(found.name)
        return found

    def _look(self, key: str) -> Caller | None:
        """A key is looked up again after two seconds: one that was revoked works for no longer."""
        now, known = self._clock(), self._known.get(key)
        if known is None or now - known[0] > _KNOWN_SECONDS:
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            known = self._known[key] = (now, self.accounts.caller(key))
        return known[1]

    def count(self, name: str) -> None:
        """One more request of an account. Raises RefusedError where they are too many."""
        now = self._clock()
        left, since = self._left.get(name, (self._rate, now))
        left = min(self._rate, left + (now - since) * self._rate)
        if left < 1:
            raise RefusedError(
                429,
                f"the account {name} may send {self._rate:g} requests a second; wait a second",
                {"Retry-After": "1"},
            )
        self._left[name] = (left - 1, now)
