"""A request that is sent again with the same Idempotency-Key makes nothing new, also where a process ended in between.

<lake>/_managed/requests/<id>.json         what was asked for, and what of this name was there before
<lake>/_managed/requests/<id>.made.json    what it has made, without secrets
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from pydantic import TypeAdapter

from asgard_assets.errors import ConflictError
from asgard_assets.lake.store import Store
from asgard_assets.operations.ingestion.airbyte import DataSource, Ingestion, Sink
from asgard_assets.operations.transforms.submissions import Submissions, run_id_of

FOLDER = "_managed/requests"
Made = TypeVar("Made", DataSource, Sink, Ingestion)


@dataclass(frozen=True)
class Request:
    """Who asks for what. Of the body, which may hold secrets, only a digest salted with the key is kept."""

    account: str
    key: str
    path: str
    body: str

    @property
    def id(self) -> str:
        return run_id_of(self.account, f"{self.path}\0{self.key}")

    @property
    def digest(self) -> str:
        return hashlib.sha256("\0".join((self.account, self.key, self.body)).encode()).hexdigest()


@dataclass(frozen=True)
class Repeats:
    """The requests of a lake. Of several gateways that get one key, one works on it."""

    store: Store
    submissions: Submissions
    settle_seconds: float = 3.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def once(
        self,
        request: Request,
        kind: type[Made],
        like_it: Callable[[], Sequence[Made]],
        make: Callable[[], Made],
        complete: Callable[[Made], Made] = lambda made: made,
    ) -> Made:
        """What the request makes, or has made before.

        `like_it` lists what could be it: so a thing is found whose maker ended before it could tell. `complete` does the
        rest of the work on it. Raises ConflictError where the key was sent with another request, or this one is being
        worked on.
        """
        if not request.key:
            return make()
        with self.submissions.claimed(request.id) as mine:
            if not mine:
                raise ConflictError(
                    "a request with this Idempotency-Key is being worked on; send it again in a while"
                )
            begun = self._read(request.id)
            if begun is None:
                begun = {"digest": request.digest, "before": [_id(one) for one in like_it()]}
                self._write(request.id, begun)
                left = None
            elif begun["digest"] != request.digest:
                raise ConflictError(
                    "this Idempotency-Key was sent before with another request; send a new key"
                )
            elif (told := self._read(f"{request.id}.made")) is not None:
                return TypeAdapter(kind).validate_python(told)
            else:
                left = self._left(set(begun["before"]), like_it)
            made = make() if left is None else complete(left)
            self._write(f"{request.id}.made", asdict(made))
            return made

    def _left(self, before: set[str], like_it: Callable[[], Sequence[Made]]) -> Made | None:
        """What an earlier maker has left. It may have ended a moment ago, and what it asked for be on its way."""
        until = self.clock() + self.settle_seconds
        while True:
            found = next((one for one in like_it() if _id(one) not in before), None)
            if found is not None or self.clock() >= until:
                return found
            self.sleep(0.25)

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            return json.loads(self.store.get(f"{FOLDER}/{name}.json"))
        except FileNotFoundError:
            return None

    def _write(self, name: str, told: dict[str, Any]) -> None:
        self.store.put_new(f"{FOLDER}/{name}.json", json.dumps(told).encode())


def _id(one: DataSource | Sink | Ingestion) -> str:
    """The first field of each kind is its id."""
    return str(getattr(one, fields(one)[0].name))
