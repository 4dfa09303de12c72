"""What travels through the middleware: a request, its trace, a response; and the ways in which sending fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from inspect import isfunction, ismethod
from typing import IO, TYPE_CHECKING, Any

from asgard_assets.errors import SourceError, Terminal, Transient

if TYPE_CHECKING:
    from asgard_assets.ingest.api.source.answers import Means


class Trace:
    """What happened to one request, all its tries together.

    There is one for each row: what nothing has happened to stays the class's.
    """

    attempts: int = 0
    throttles: int = 0
    spool: IO[bytes] | None = None  # where a body of any size goes
    control: bool = False  # the answer says something about an asynchronous job
    generation: int | None = None  # of the credentials that the last try went out with
    deadline: float | None = None  # of what is tried again, by the clock of the retries
    gave_up: str = ""  # why it was not tried again, where the API asked for a longer wait


@dataclass(slots=True)
class Request:
    """One logical request. `url` is complete and encoded; `id` is stable over runs.

    Not to be changed (frozen dataclasses take three times as long to make): `changed` gives another one.
    """

    id: str
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    trace: Trace = field(default_factory=Trace, compare=False)

    def changed(
        self,
        *,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Request:
        """The same request with another address, body or headers (`dataclasses.replace`, at half the cost)."""
        kept = self.body if body is None else body
        return Request(self.id, self.method, url or self.url, headers or self.headers, kept, self.trace)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer means. `message` is what to say where it is no success; `wait_seconds` what a rule asks for."""

    means: Means
    message: str = ""
    wait_seconds: float | None = None


@dataclass(slots=True)
class Response:
    """A whole answer. Header names are lower case; of repeated ones the last is kept, but for LISTS, which are
    joined (RFC 9110, 5.3)."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    spooled: int = 0  # bytes that went to the request's file in place of `body`
    url: str = field(default="", compare=False)  # what was asked last, after redirects
    verdict: Verdict | None = field(default=None, compare=False)  # what it means; see `Judge`
    parsed: Any = field(default=None, compare=False)  # its value, where somebody has read it


LISTS = frozenset({"link", "ratelimit", "ratelimit-policy"})
"""Headers that are read as lists: a server may write each of their parts on a line of its own."""


def joined(headers: dict[str, str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """`headers` with all that `pairs` say in those that are lists."""
    parts: dict[str, list[str]] = {}
    for name, value in pairs:
        if name in LISTS or name == "set-cookie":
            parts.setdefault(name, []).append(value)
    # A cookie may have a comma in it.
    return headers | {
        name: ("\n" if name == "set-cookie" else ", ").join(values) for name, values in parts.items()
    }


Send = Callable[[Request], Awaitable[Response]]
Middleware = Callable[[Request, Send], Awaitable[Response]]


class TransportError(Transient, SourceError):
    """No whole answer came back. Carries `url`."""


class ConnectFailed(TransportError):
    """The server could not even be connected to."""


class TimedOut(TransportError):
    """The answer did not come in time."""


class LimitReached(Transient, SourceError):
    """The API says that it serves nothing for longer than a request may wait; it was not sent."""


class BodyTooLarge(Terminal, SourceError):
    """The body is longer than `sink.max_body_bytes`, packed or unpacked."""


class Undecodable(Terminal, SourceError):
    """A body is not what it should be: cut short, an error page, another format."""


class Oversized(Terminal, SourceError):
    """Unpacked, a body is longer than `sink.max_body_bytes`."""


class Unsendable(Terminal, SourceError):
    """The request cannot be written: its address or a header is malformed."""


class Unreachable(Transient, SourceError):
    """The API gave no usable answer to anything; nothing was published."""


class Refused(Terminal, SourceError):
    """The API refused the credentials; nothing was published."""


def chain(middleware: list[Middleware], last: Send) -> Send:
    """One `send` out of many: the first middleware is the outermost."""
    send = last
    for layer in reversed(middleware):
        send = _bind(layer, send)
    return send


def _bind(layer: Middleware, send: Send) -> Send:
    # A method is called at less cost than an object that has one.
    call: Middleware = layer if isfunction(layer) or ismethod(layer) else layer.__call__

    def bound(request: Request) -> Awaitable[Response]:
        return call(request, send)

    return bound
