"""One logical request with what became of it, and how that reads as a Bronze row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asgard_assets.ingest.api.http.messages import Request, Response
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.secrets import MASK, SENSITIVE_HEADERS, Redactor
from asgard_assets.ingest.api.table.bronze import PERMANENT, RETRYABLE, SUCCESS

_KNOWN_HEADERS = 1024
_OPEN_STATUSES = frozenset({401})  # credentials can be mended: a resume sends these again


@dataclass(slots=True)
class Exchange:
    """One logical request with what became of it; filled in as it happens. Times are seconds since 1970."""

    request: Request
    started: float
    params: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    text: str | None = None
    outcome: str = RETRYABLE
    error_class: str | None = None
    error_message: str | None = None
    unchanged: bool = False

    def answered(self, response: Response, outcome: str, error: str | None, text: str) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.body
        self.text, self.outcome = text, outcome
        if error:
            self.error_class, self.error_message = "HttpStatus", error

    def failed(self, outcome: str, error: Exception) -> None:
        self.outcome, self.error_class, self.error_message = outcome, type(error).__name__, str(error)


class Describing:
    """Turns exchanges into the Bronze columns that both forms share, with no secret in any of them.

    Headers are much the same from one request to the next: their JSON is made once.
    """

    def __init__(self, source: ApiSource, redactor: Redactor):
        self._dropped, self._redactor = source.sink.volatile_headers, redactor
        self._known: dict[tuple[tuple[str, str], ...], str] = {}

    def columns(self, exchange: Exchange) -> dict[str, Any]:
        request, text = exchange.request, self._redactor.text
        answered, error = exchange.headers, exchange.error_message
        started = int(exchange.started * 1e6)
        dropped = self._dropped
        return {
            "request_id": request.id,
            "url": text(request.url),
            "method": request.method,
            "request_headers": text(self._json(tuple(request.headers.items()))),
            "request_params": text(dumped(exchange.params)) if exchange.params else "{}",
            "request_body": text(request.body.decode()) if request.body is not None else None,
            "status_code": exchange.status,
            "response_headers": None
            if exchange.status is None
            else text(self._json(tuple([pair for pair in answered.items() if pair[0] not in dropped]))),
            "success": exchange.outcome == SUCCESS,
            "outcome": exchange.outcome,
            "error_class": exchange.error_class,
            "error_message": None if error is None else text(error),
            "attempts": request.trace.attempts,
            "started_at": started,
            "finished_at": started + int(exchange.seconds * 1e6),
            "duration_seconds": exchange.seconds,
        }

    def _json(self, headers: tuple[tuple[str, str], ...]) -> str:
        found = self._known.get(headers)
        if found is None:
            if len(self._known) >= _KNOWN_HEADERS:
                self._known.clear()
            found = self._known[headers] = dumped(dict(headers))
        return found


def judge(source: ApiSource, response: Response) -> tuple[str, str | None]:
    """Outcome of an answer, and what to say where it is no success."""
    status = response.status
    if 200 <= status < 300:
        return SUCCESS, None
    if status in source.retry.statuses or status in _OPEN_STATUSES:
        return RETRYABLE, f"status {status}"
    if 300 <= status < 400:
        return (
            PERMANENT,
            f"status {status}: it was not followed; set endpoint.redirects, or endpoint.base_url to the target",
        )
    return PERMANENT, f"status {status}"


def dumped(mapping: Mapping[str, str]) -> str:
    """JSON with sorted keys; what is secret by its header's name is masked."""
    if not mapping:
        return "{}"
    import orjson

    return orjson.dumps(redacted_headers(mapping), option=orjson.OPT_SORT_KEYS).decode()


def redacted_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The same headers with stars in place of what is a secret by its name."""
    return {k: MASK if k.lower() in SENSITIVE_HEADERS else v for k, v in headers.items()}
