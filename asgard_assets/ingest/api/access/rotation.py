"""Secrets that are rotated while a load runs: they are read again, and count from the next request on.

A file is read again each second, a secret store each minute, and either at once when the API refuses what is known. Variables
of the environment never change within a process.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.api.access.auth import Credentials, credentials, references_of
from asgard_assets.ingest.api.rate.lease import Clock
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.schemes import Auth, OAuth2
from asgard_assets.ingest.api.source.secrets import variable

log = logging.getLogger(__name__)
T = TypeVar("T")

REFUSALS = (401, 403)
_FILE_SECONDS, _STORE_SECONDS = 1.0, 60.0
_IN_VAIN_SECONDS = 1.0  # after a refusal that a new look at the secret did not explain


def rotates(auth: Auth | OAuth2) -> bool:
    """Whether a secret of the login can change while the process runs."""
    return any(variable(reference) is None for reference in references_of(auth))


class Reader:
    """Reads secrets outside of the loop, with the secret store that was known where this was made."""

    def __init__(self) -> None:
        self._context = contextvars.copy_context()

    async def read(self, secrets: Callable[[], T], known: T, source: str) -> T:
        """What `secrets` gives now; `known` where they cannot be read."""
        try:
            return await asyncio.to_thread(self._context.copy().run, secrets)
        except (ConfigError, SourceError) as error:
            log.warning("%s: the secret is not read again, the one that is known is used: %s", source, error)
            return known


class Rotating:
    """An issuer that reads the source's secrets again. Raises ConfigError where one is missing at the start."""

    def __init__(self, source: ApiSource, clock: Clock = time.monotonic):
        self._source, self._clock, self._reader = source, clock, Reader()
        self._known = replace(credentials(source), generation=1, renewed_at=REFUSALS)
        self._read_at, self._in_vain_at = clock(), float("-inf")
        self._reading = asyncio.Lock()
        stored = any(
            reference.startswith(("aws-secret:", "vault:")) for reference in references_of(source.auth)
        )
        self._life = _STORE_SECONDS if stored else _FILE_SECONDS

    async def credentials(self, rejected: int | None = None) -> Credentials:
        async with self._reading:
            now, known = self._clock(), self._known
            refused = rejected == known.generation and now >= self._in_vain_at + _IN_VAIN_SECONDS
            if refused or now >= self._read_at + self._life:
                await self._read()
                if refused and self._known is known:
                    self._in_vain_at = self._clock()
            return replace(self._known, expires_in=self._read_at + self._life - self._clock())

    async def _read(self) -> None:
        known = self._known
        found = await self._reader.read(lambda: credentials(self._source), known, self._source.name)
        self._read_at = self._clock()
        # A file that is being written anew is empty for a moment.
        if all(secret.value for secret in found.hidden) and found.hidden != known.hidden:
            log.info("%s: the secret was rotated", self._source.name)
            self._known = replace(found, generation=known.generation + 1, renewed_at=REFUSALS)
