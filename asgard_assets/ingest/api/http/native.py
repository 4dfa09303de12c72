"""The native client: libcurl's multi interface inside the worker's own event loop.

libcurl names the sockets that it waits for; they stand in an epoll set of ours, which is one descriptor to
asyncio. So a hundred answers that arrive together cost one turn of the loop, and a socket that libcurl keeps
for the next request stays in the set.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from asgard_assets.ingest.api.http.messages import (
    BodyTooLarge,
    ConnectFailed,
    Request,
    Response,
    TimedOut,
    TransportError,
    Unsendable,
    joined,
)
from asgard_assets.ingest.api.http.tls import WireSecrets
from asgard_assets.ingest.api.http.transport import own_headers
from asgard_assets.ingest.api.source.models import ApiSource

if TYPE_CHECKING:
    import pycurl

_IDLE = -1
_BATCH = 256
_KNOWN_LINES = 4096
_MASKS = (0, select.EPOLLIN, select.EPOLLOUT, select.EPOLLIN | select.EPOLLOUT)  # by what libcurl waits for

# libcurl's error numbers (curl/curl.h), by what they mean to us.
_UNSENDABLE = frozenset({3, 43})
_UNSUPPORTED = 1  # a scheme that we do not speak; or, once connected, an answer that is no HTTP
_NOT_CONNECTED = frozenset({5, 6, 7, 35, 58, 59, 60, 66, 77, 83, 97})
_TIMED_OUT, _TOO_LARGE = 28, 63


class _Slot:
    """One easy handle; it is used again, its options kept."""

    __slots__ = ("body", "curl", "future", "head", "headers")

    def __init__(self, curl: pycurl.Curl):
        self.curl = curl
        self.head: list[bytes] = []
        self.body: list[bytes] = []
        self.headers: Mapping[str, str] | None = None
        self.future: asyncio.Future[tuple[int, str] | None]


class NativeTransport:
    """One connection pool for one event loop."""

    def __init__(self, source: ApiSource, secrets: WireSecrets):
        self._source, self._secrets = source, secrets
        self._own = own_headers()
        self._free: dict[tuple[str, bool], list[_Slot]] = {}
        self._busy: dict[pycurl.Curl, _Slot] = {}
        self._sockets: dict[int, int] = {}
        self._lines: dict[bytes, tuple[str, str]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings = self._due = 0.0  # when the timer does, and when libcurl wants it to; 0: not at all
        self._kicked = False

    async def __aenter__(self) -> Self:
        import pycurl

        self._pycurl = pycurl
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        multi = self._multi = pycurl.CurlMulti()
        wire, limits = self._source.transport, self._source.limits
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._wait)
        multi.setopt(pycurl.M_MAXCONNECTS, wire.connections.most or limits.max_in_flight)
        multi.setopt(pycurl.M_MAX_TOTAL_CONNECTIONS, wire.connections.most or 0)
        self._loop.add_reader(self._epoll.fileno(), self._readable)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for curl in [*self._busy]:
            self._multi.remove_handle(curl)
        self._loop.remove_reader(self._epoll.fileno())
        if self._timer:
            self._timer.cancel()
        for slot in (slot for slots in self._free.values() for slot in slots):
            slot.curl.close()
        self._multi.close()
        self._epoll.close()

    async def send(self, request: Request) -> Response:
        slot = self._slot(request)
        curl = slot.curl
        slot.future = self._loop.create_future()
        self._busy[curl] = slot
        self._multi.add_handle(curl)
        try:
            failed = await slot.future
        finally:
            # Also where the wait was cancelled: an unfinished transfer's connection is closed by libcurl.
            if self._busy.pop(curl, None) is not None:
                self._multi.remove_handle(curl)
        try:
            if failed is not None:
                raise self._error(*failed, slot)
            if b"\r\n" not in slot.head and b"\n" not in slot.head:
                raise TransportError("the answer ended within its headers")  # libcurl takes it as whole
            status = curl.getinfo(self._pycurl.RESPONSE_CODE)
            return Response(status, self._headers(slot.head), b"".join(slot.body))
        finally:
            slot.head.clear()
            slot.body.clear()
            self._free[request.method, request.body is None].append(slot)

    # Requests and answers --------------------------------------------------------------------------------

    def _slot(self, request: Request) -> _Slot:
        pycurl = self._pycurl
        free = self._free.setdefault((request.method, request.body is None), [])
        slot = free.pop() if free else self._new(request)
        curl = slot.curl
        try:
            curl.setopt(pycurl.URL, request.url.encode())
            if slot.headers is not request.headers and slot.headers != request.headers:
                curl.setopt(pycurl.HTTPHEADER, _header_lines(self._own, request.headers))
                slot.headers = request.headers
        except (ValueError, pycurl.error) as error:
            free.append(slot)
            raise Unsendable(f"the request cannot be sent: {error}") from error
        if request.body is not None:
            curl.setopt(pycurl.POSTFIELDS, request.body)
        return slot

    def _new(self, request: Request) -> _Slot:
        pycurl = self._pycurl
        curl = pycurl.Curl()
        slot = _Slot(curl)
        wire, cap = self._source.transport, self._source.sink.max_body_bytes
        paths = ssl.get_default_verify_paths()
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            (pycurl.WRITEFUNCTION, slot.body.append),
            (pycurl.HEADERFUNCTION, slot.head.append),
            (pycurl.CONNECTTIMEOUT_MS, int(wire.timeouts.connect_seconds * 1000)),
            (pycurl.TIMEOUT_MS, int(wire.timeouts.total_seconds * 1000)),
            (pycurl.DNS_CACHE_TIMEOUT, wire.connections.dns_cache_seconds),
            (pycurl.MAXAGE_CONN, wire.connections.idle_seconds),
            (pycurl.MAXFILESIZE_LARGE, cap),  # unpacked bytes count too
            (pycurl.ACCEPT_ENCODING, "gzip, deflate, br"),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.PATH_AS_IS, 1),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.PROXY, wire.proxy.url if wire.proxy else ""),
            *self._tls_options(),
        ):
            curl.setopt(option, value)
        for option, path in ((pycurl.CAINFO, paths.cafile), (pycurl.CAPATH, paths.capath)):
            if path and wire.tls.ca_bundle is None:
                curl.setopt(option, path)
        if wire.timeouts.read_seconds is not None:
            curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
            curl.setopt(pycurl.LOW_SPEED_TIME, max(1, round(wire.timeouts.read_seconds)))
        if request.method == "HEAD" and request.body is None:
            curl.setopt(pycurl.NOBODY, 1)
            curl.setopt(pycurl.MAXFILESIZE_LARGE, 0)  # the length that a HEAD tells is not sent
        elif request.method != "GET" or request.body is not None:
            curl.setopt(pycurl.POST, 1)
            curl.setopt(pycurl.POSTFIELDS, b"")
            curl.setopt(pycurl.CUSTOMREQUEST, request.method)
        return slot

    def _tls_options(self) -> list[tuple[int, str | int]]:
        pycurl, wire, secrets = self._pycurl, self._source.transport, self._secrets
        options: list[tuple[int, str | int | None]] = [
            (pycurl.CAINFO, wire.tls.ca_bundle),
            (pycurl.SSLCERT, wire.tls.certificate),
            (pycurl.SSLKEY, wire.tls.key or wire.tls.certificate),
            (pycurl.KEYPASSWD, secrets.passphrase.value if secrets.passphrase else None),
        ]
        if not wire.tls.verify:
            options += [(pycurl.SSL_VERIFYPEER, 0), (pycurl.SSL_VERIFYHOST, 0)]
        if wire.proxy and wire.proxy.username:
            options.append((pycurl.PROXYUSERNAME, wire.proxy.username))
            options.append(
                (pycurl.PROXYPASSWORD, secrets.proxy_password.value if secrets.proxy_password else "")
            )
        return [(option, value) for option, value in options if value is not None]

    def _headers(self, lines: list[bytes]) -> dict[str, str]:
        """Of the last answer: a server may say 100 Continue first. Lines that came before are not parsed again."""
        pairs = list(map(self._lines.get, lines))
        if None in pairs:
            pairs = [pair or self._pair(line) for pair, line in zip(pairs, lines, strict=True)]
        headers: dict[str, str] = dict(pairs)  # type: ignore[arg-type]
        # The status line and the empty one at the end are the two without a name; no header came twice.
        if len(headers) == len(lines) - 1:
            del headers[""]
            return headers
        begins = max((at for at, line in enumerate(lines) if line.startswith(b"HTTP/")), default=0)
        named = [pair for pair in pairs[begins:] if pair and pair[0]]
        headers = dict(named)
        return headers if len(headers) == len(named) else joined(headers, named)

    def _pair(self, line: bytes) -> tuple[str, str]:
        """Name and value; no name of a line that is no header."""
        if len(self._lines) >= _KNOWN_LINES:
            self._lines.clear()
        name, colon, value = line.partition(b":")
        pair = "", ""
        if colon and not line.startswith(b"HTTP/"):
            pair = name.strip().decode("latin-1").lower(), value.strip().decode("utf-8", "replace")
        self._lines[line] = pair
        return pair

    def _error(self, number: int, said: str, slot: _Slot) -> Exception:
        pycurl, timeouts = self._pycurl, self._source.transport.timeouts
        if number == _TOO_LARGE:
            return BodyTooLarge(f"the body has more than {self._source.sink.max_body_bytes} bytes")
        connected = slot.curl.getinfo(pycurl.PRETRANSFER_TIME) > 0
        if number in _UNSENDABLE or (number == _UNSUPPORTED and not connected):
            return Unsendable(f"the request cannot be sent: {said}")
        if number in _NOT_CONNECTED:
            return ConnectFailed(f"cannot connect: {said}")
        if number == _TIMED_OUT:
            if not connected:
                return ConnectFailed(f"cannot connect: {said}")
            if "too slow" in said:
                return TimedOut(f"silent for {timeouts.read_seconds or 0:g} s")
            return TimedOut(f"no answer within {timeouts.total_seconds:g} s")
        return TransportError(f"curl {number}: {said}")

    # libcurl's sockets and timer in asyncio's loop ---------------------------------------------------------

    def _watch(self, what: int, fd: int, _multi: object, _data: object) -> None:
        """libcurl waits for reading (1), writing (2) or both (3) on `fd`, or no longer (4)."""
        old = self._sockets.get(fd)
        if what == self._pycurl.POLL_REMOVE:
            if old in (1, _IDLE):
                self._sockets[fd] = _IDLE
            elif old is not None:
                self._drop(fd)
        elif what != old:
            mask = _MASKS[what & 3]
            self._sockets[fd] = what
            if old is None:
                self._epoll.register(fd, mask)
                return
            try:
                self._epoll.modify(fd, mask)
            except FileNotFoundError:
                # A closed socket has left the set by itself, and its number may be another's by now.
                self._epoll.register(fd, mask)

    def _drop(self, fd: int) -> None:
        del self._sockets[fd]
        with contextlib.suppress(OSError):  # closed meanwhile, which takes it out of the set
            self._epoll.unregister(fd)

    def _readable(self) -> None:
        act, sockets = self._multi.socket_action, self._sockets
        for fd, events in self._epoll.poll(0, _BATCH):
            if sockets.get(fd, _IDLE) == _IDLE:
                self._drop_idle(fd)
                continue
            mask = self._pycurl.CSELECT_IN if events & (select.EPOLLIN | select.EPOLLHUP) else 0
            mask |= self._pycurl.CSELECT_OUT if events & select.EPOLLOUT else 0
            mask |= self._pycurl.CSELECT_ERR if events & select.EPOLLERR else 0
            act(fd, mask)
        self._finish()

    def _drop_idle(self, fd: int) -> None:
        # The server closed a kept connection: libcurl finds out when it wants to use it.
        self._sockets.setdefault(fd, _IDLE)
        self._drop(fd)

    def _wait(self, milliseconds: int) -> None:
        """libcurl wants to be called after so long; -1: no longer. It changes its mind with each request, so a timer that
        rings too early stays, and is set again when it has."""
        if milliseconds == 0:
            if not self._kicked:
                self._kicked = True
                self._loop.call_soon(self._kick)
            return
        if milliseconds < 0:
            self._due = 0.0
            return
        due = self._due = self._loop.time() + milliseconds / 1000
        if self._timer is None or due < self._rings:
            self._ring(due)

    def _ring(self, at: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._rings, self._timer = at, self._loop.call_at(at, self._timed)

    def _kick(self) -> None:
        self._kicked = False
        self._multi.socket_action(self._pycurl.SOCKET_TIMEOUT, 0)
        self._finish()

    def _timed(self) -> None:
        self._timer = None
        if self._due > self._rings:
            self._ring(self._due)
        elif self._due:
            self._due = 0.0
            self._multi.socket_action(self._pycurl.SOCKET_TIMEOUT, 0)
            self._finish()

    def _finish(self) -> None:
        left = 1
        while left:
            left, good, bad = self._multi.info_read(_BATCH)
            for curl in good:
                self._done(curl, None)
            for curl, number, said in bad:
                self._done(curl, (number, said))

    def _done(self, curl: pycurl.Curl, failed: tuple[int, str] | None) -> None:
        self._multi.remove_handle(curl)
        slot = self._busy.pop(curl)
        if not slot.future.done():
            slot.future.set_result(failed)


def _header_lines(own: Mapping[str, str], headers: Mapping[str, str]) -> list[bytes]:
    """Header lines as libcurl wants them. Raises ValueError where one would end the header early."""
    named = {name.lower() for name in headers}
    lines = [b"Expect:"]
    if "content-type" not in named:
        lines.append(b"Content-Type:")
    for name, value in [*((n, v) for n, v in own.items() if n.lower() not in named), *headers.items()]:
        line = f"{name}: {value}" if value else f"{name};"
        if any(sign in line for sign in "\r\n\0"):
            raise ValueError(f"the header {name!r} has a line break or a NUL in it")
        lines.append(line.encode())
    return lines
