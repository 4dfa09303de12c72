"""One logical request with what became of it, and how that reads as a Bronze row."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from asgard_assets.ingest.api.http.messages import Request, Response, Verdict
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.secrets import (
    MASK,
    Redactor,
    address_shown,
    carries_a_login,
    without_logins,
)
from asgard_assets.ingest.api.table.bronze import MORE_PAGES, PERMANENT, RETRYABLE, SUCCESS

_KNOWN_HEADERS = 1024
_OPEN_STATUSES = frozenset({401})  # credentials can be mended: a resume sends these again


class Exchange:
    """One logical request with what became of it; filled in as it happens. Times are seconds since 1970.

    There is one for each row: what has not happened stays the class's.
    """

    seconds: float = 0.0
    status: int | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""
    text: str | None = None
    outcome: str = RETRYABLE
    error_class: str | None = None
    error_message: str | None = None
    unchanged: bool = False
    empty: bool = False  # a success with nothing in it
    spooled: bool = False  # the body lies in the request's file
    parsed: Any = None  # its value, where it was read
    url: str = ""  # what answered, after redirects
    columns: dict[str, Any] | None = None  # of the table, once they are known: a page's items share them

    def __init__(self, request: Request, started: float, params: Mapping[str, Any] | None = None):
        self.request, self.started, self.params = request, started, params or {}

    def answered(self, response: Response, outcome: str, error: str | None, text: str) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.body
        self.parsed, self.url = response.parsed, response.url or self.request.url
        if response.spooled:
            self.spooled = True
        if response.verdict is not None and response.verdict.means == "empty":
            self.empty = True
        self.text, self.outcome = text, outcome
        if error:
            self.error_class, self.error_message = "HttpStatus", error

    def failed(self, outcome: str, error: Exception) -> None:
        self.outcome, self.error_class, self.error_message = outcome, type(error).__name__, str(error)
        self.columns = None

    def unread(self, letters: int) -> None:
        self.error_class = "Charset"
        self.error_message = f"{letters} characters of the body are not in its charset; they are U+FFFD"

    def more_pages(self, said: str) -> None:
        self.error_class = MORE_PAGES
        self.error_message = (
            f"the answer is the first page of a list: {said}. A source of type row reads one answer for each row. To read "
            "all pages: form: {type: pull, rows: …, pagination: {type: auto}, key: …}. If the first page is all you "
            "want: form.more_pages: keep"
        )


class Describing:
    """Turns exchanges into the Bronze columns that both forms share, with no secret in any of them.

    Headers are much the same from one request to the next: their JSON is made once.
    """

    def __init__(self, source: ApiSource, redactor: Redactor, base_url: str = ""):
        self._dropped, self._redactor = source.sink.volatile_headers, redactor
        self._address = address_shown(source.endpoint.base_url, base_url)
        self._known: dict[tuple[tuple[str, str], ...], str] = {}
        self._told = redactor.added
        self._sent: tuple[Mapping[str, str], str] = ({}, "{}")

    def columns(self, exchange: Exchange) -> dict[str, Any]:
        request, text = exchange.request, self._redactor.text
        error, seconds, outcome = exchange.error_message, exchange.seconds, exchange.outcome
        started = int(exchange.started * 1e6)
        return {
            "request_id": request.id,
            "url": text(without_logins(self._address(request.url))),
            "method": request.method,
            "request_headers": self._sent_shown(request.headers),
            "request_params": text(dumped(exchange.params)) if exchange.params else "{}",
            "request_body": text(request.body.decode()) if request.body is not None else None,
            "status_code": exchange.status,
            "response_headers": None if exchange.status is None else self._shown(exchange.headers),
            "success": outcome == SUCCESS,
            "outcome": outcome,
            "error_class": exchange.error_class,
            "error_message": None if error is None else text(self._address(error)),
            "attempts": request.trace.attempts,
            "started_at": started,
            "finished_at": started + int(seconds * 1e6),
            "duration_seconds": seconds,
        }

    def _sent_shown(self, headers: Mapping[str, str]) -> str:
        """Requests of a source often share one mapping of headers."""
        last, shown = self._sent
        if headers is not last or self._told != self._redactor.added:
            shown = self._known_or_new(headers)
            self._sent = headers, shown
        return shown

    def _shown(self, headers: Mapping[str, str]) -> str:
        """Of an answer, without those that change by themselves."""
        if dropped := self._dropped.intersection(headers):
            headers = dict(headers)
            for name in dropped:
                del headers[name]
        return self._known_or_new(headers)

    def _known_or_new(self, headers: Mapping[str, str]) -> str:
        if self._told != self._redactor.added:
            self._known.clear()
            self._told = self._redactor.added
        pairs = tuple(headers.items())
        found = self._known.get(pairs)
        if found is None:
            if len(self._known) >= _KNOWN_HEADERS:
                self._known.clear()
            found = self._known[pairs] = self._redactor.text(dumped(dict(headers)))
        return found


def outcome_of(verdict: Verdict, status: int) -> tuple[str, str | None]:
    """Outcome of an answer, and what to say where it is no success."""
    if verdict.means in ("success", "empty"):
        return SUCCESS, None
    permanent = verdict.means == "fail" and status not in _OPEN_STATUSES
    return PERMANENT if permanent else RETRYABLE, verdict.message


def dumped(mapping: Mapping[str, Any]) -> str:
    """JSON with sorted keys; what is secret by its header's name is masked."""
    if not mapping:
        return "{}"
    import orjson

    return orjson.dumps(redacted_headers(mapping), option=orjson.OPT_SORT_KEYS).decode()


def redacted_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The same headers with stars in place of what is a secret by its name."""
    return {k: MASK if carries_a_login(k) else v for k, v in headers.items()}
