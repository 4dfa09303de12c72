"""One logical request with what became of it, and how that reads as a Bronze row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from asgard_assets.ingest.api.bronze import PERMANENT, RETRYABLE, SUCCESS
from asgard_assets.ingest.api.messages import Request, Response
from asgard_assets.ingest.api.models import ApiSource
from asgard_assets.ingest.api.secrets import MASK, SENSITIVE_HEADERS, Redactor

_OPEN_STATUSES = frozenset({401})  # credentials can be mended: a resume sends these again


@dataclass(frozen=True, slots=True)
class Exchange:
    """One logical request with what became of it."""

    request: Request
    params: Mapping[str, str]
    started: datetime
    seconds: float = 0.0
    status: int | None = None
    headers: Mapping[str, str] = None  # type: ignore[assignment]
    body: bytes = b""
    text: str | None = None
    outcome: str = RETRYABLE
    error_class: str | None = None
    error_message: str | None = None

    def failed(self, outcome: str, error: Exception) -> Exchange:
        return replace(self, outcome=outcome, error_class=type(error).__name__, error_message=str(error))

    def columns(self, source: ApiSource, redactor: Redactor) -> dict[str, Any]:
        """The Bronze columns that both forms share, with no secret in any of them."""
        request = self.request
        dropped = source.sink.volatile_headers
        answered = None
        if self.headers is not None:
            answered = _json({k: v for k, v in self.headers.items() if k not in dropped})
        return {
            "request_id": request.id,
            "url": redactor.text(request.url),
            "method": request.method,
            "request_headers": redactor.text(_json(request.headers)),
            "request_params": redactor.text(_json(self.params)),
            "request_body": redactor.text(request.body.decode()) if request.body is not None else None,
            "status_code": self.status,
            "response_headers": None if answered is None else redactor.text(answered),
            "success": self.outcome == SUCCESS,
            "outcome": self.outcome,
            "error_class": self.error_class,
            "error_message": None if self.error_message is None else redactor.text(self.error_message),
            "attempts": request.trace.attempts,
            "started_at": self.started,
            "finished_at": self.started + timedelta(seconds=self.seconds),
            "duration_seconds": self.seconds,
        }


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
            f"status {status}: redirects are not followed; set endpoint.base_url to the target",
        )
    return PERMANENT, f"status {status}"


def _json(mapping: Mapping[str, str]) -> str:
    import orjson

    safe = {k: MASK if k.lower() in SENSITIVE_HEADERS else v for k, v in mapping.items()}
    return orjson.dumps(safe, option=orjson.OPT_SORT_KEYS).decode()
