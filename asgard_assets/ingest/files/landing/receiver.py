"""Where a store that posts its events to a webhook (MinIO, versitygw, Ceph) posts them: `asgard receive`.

Each message goes, as a file, into the folder of every source whose files it names and that has `notify: folder`; the
source's sensor takes it from there. A store is answered only when the message lies there, and tries again where it
does not: what is lost all the same is found by the next full listing.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
import uuid
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.landing.connections import guarded
from asgard_assets.ingest.files.landing.notices import UNREADABLE, files_named
from asgard_assets.ingest.files.source.models import FileSource, FromFolder

if TYPE_CHECKING:
    from aiohttp import web

log = logging.getLogger(__name__)

MESSAGE_BYTES = 1 << 20
MOST_WAITING = 100_000
"""So many messages may wait for one source; more are refused, and found by its next full listing."""
_COUNT_EVERY = 1_000


class Crowded(Exception):
    """Too many messages wait already."""


class Receiver:
    """Writes messages down. Raises ConfigError where no source reads any."""

    def __init__(
        self, landing: Landing, sources: Sequence[FileSource], most_waiting: int = MOST_WAITING
    ) -> None:
        self._landing, self._most = landing, most_waiting
        self._folders = {s.name: (s, s.notify.path) for s in sources if isinstance(s.notify, FromFolder)}
        if not self._folders:
            raise ConfigError(
                "no file source reads messages from a folder; set `notify: {type: folder, path: _events/NAME}` in "
                "the defs.yaml of one"
            )
        self._waiting = dict.fromkeys(self._folders, 0)

    def take(self, body: bytes) -> list[str]:
        """Write a message down for each source that it concerns, and name them.

        Raises ValueError where it is no event that anybody can read, Crowded where too many wait.
        """
        try:
            told = json.loads(body)
            names = [
                name
                for name, (source, _) in self._folders.items()
                if any(True for _ in files_named(self._landing, source, told))
            ]
        except UNREADABLE as error:
            raise ValueError("is no S3 event") from error
        for name in names:
            self._write(name, body)
        return names

    def _write(self, name: str, body: bytes) -> None:
        path = self._folders[name][1]
        if self._waiting[name] % _COUNT_EVERY == 0 or self._waiting[name] >= self._most:
            self._waiting[name] = self._counted(path)
        if self._waiting[name] >= self._most:
            raise Crowded(f"{self._waiting[name]} messages wait for {name}")
        self._landing.refuse_outside(path)
        self._landing.put(f"{path}/{time.time_ns():020}-{uuid.uuid4().hex}.json", body)
        self._waiting[name] += 1

    def _counted(self, path: str) -> int:
        return len(self._landing.names(path))


def application(receiver: Receiver, token: str) -> web.Application:
    """Takes POSTs to `/` with `Authorization: Bearer TOKEN`, or to `/TOKEN` from a store that sends no header."""
    from aiohttp import web

    async def post(request: web.Request) -> web.Response:
        header = request.headers.get("Authorization", "").removeprefix("Bearer ")
        given = request.match_info["token"] or header
        if not hmac.compare_digest(given.encode(errors="surrogateescape"), token.encode()):
            return web.Response(status=401, text="the token is not the one that `asgard receive` was given\n")
        body = await request.read()
        try:
            names = await asyncio.to_thread(receiver.take, body)
        except ValueError as error:
            return web.Response(status=400, text=f"{error}\n")
        except (Crowded, OSError, SourceError) as error:
            log.warning("a message was refused: %s", error)
            return web.Response(status=503, text="try again later\n", headers={"Retry-After": "30"})
        return web.Response(text=f"{', '.join(names) or 'no source has such a file'}\n")

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    found = guarded(partial(web.Application, client_max_size=MESSAGE_BYTES))
    found.add_routes([web.get("/health", alive), web.post("/{token:[^/]*}", post)])
    return found
