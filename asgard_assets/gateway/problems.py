"""Errors as problem+json (RFC 9457). HTTP codes of errors exist here and nowhere else."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.routing import Route, compile_path

from asgard_assets.errors import (
    AsgardError,
    ChangedError,
    ConfigError,
    ConflictError,
    LakeError,
    NotBuiltError,
    NotFoundError,
)
from asgard_assets.gateway.accounts.roles import NotAllowedError
from asgard_assets.gateway.pages.render import is_page, problem_page
from asgard_assets.ingest.files.landing.area import FolderMissingError
from asgard_assets.resources.airbyte import Refused, Unreachable

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
TITLES = {
    400: "Bad request", 401: "Not logged in", 403: "Not allowed", 404: "Not found", 405: "Method not allowed", 409: "Conflict",
    412: "Changed by others", 413: "Too large", 422: "Not possible as asked", 429: "Too many requests",
    500: "Internal error", 501: "Not built yet", 502: "Airbyte refused", 503: "Not available",
}  # fmt: skip
_OF_AIRBYTE = {400: 422, 404: 404, 409: 409, 422: 422, 501: 501}


NO_DATABASE = "the gateway's database, or Dagster's, does not answer; send the request again in a while"


class Problem(BaseModel):
    """What every answer that is not 2xx holds."""

    type: str = Field(description="Always about:blank: the status says the kind.")
    title: str = Field(description="The kind of problem, in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong, what was expected, what to do.")
    instance: str = Field(description="The path that was asked for.")
    request_id: str = Field(description="Id of the request; the server's log has it too.")
    errors: list[dict[str, str]] = Field(
        default=[], description="The fields that are wrong, each with its reason."
    )


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": TITLES[status], "content": {MEDIA_TYPE: {}}}
    for status in (400, 401, 403, 404, 409, 412, 413, 422, 429, 500, 501, 502, 503)
}


class RefusedError(Exception):
    """An answer that only makes sense over HTTP, with its status."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


def problem(
    path: str,
    request_id: str,
    status: int,
    detail: str,
    errors: Any = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """The answer: a page where one was asked for."""
    if is_page(path):
        return problem_page(status, TITLES.get(status, "Error"), detail, request_id)
    found = Problem(
        type="about:blank",
        title=TITLES.get(status, "Error"),
        status=status,
        detail=detail,
        instance=path,
        request_id=request_id,
        errors=list(errors),
    )
    return JSONResponse(found.model_dump(), status, headers, MEDIA_TYPE)


def status_of(error: Exception) -> tuple[int, str]:
    """(status, what to say) of an error that an operation raises."""
    kinds: tuple[tuple[type[Exception], int], ...] = (
        (NotAllowedError, 403), (NotFoundError, 404), (ChangedError, 412), (ConflictError, 409), (NotBuiltError, 501), (ConfigError, 422), (FolderMissingError, 422), (LakeError, 503), (AsgardError, 503),
    )  # fmt: skip
    if isinstance(error, Refused):
        return _OF_AIRBYTE.get(error.status, 502), error.description or "Airbyte refused"
    if isinstance(error, Unreachable):
        return 503, error.description or "Airbyte does not answer"
    return next((status for kind, status in kinds if isinstance(error, kind)), 500), str(error)


def add_handlers(app: FastAPI) -> None:
    """Let the app answer every error as a problem."""

    def answer(request: Request, status: int, detail: str, errors: Any = (), headers: Any = None) -> Response:
        return problem(request.url.path, request.state.request_id, status, detail, errors, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        errors = [_field(each) for each in error.errors()]
        first = errors[0]
        return answer(request, 422, f"{first['field']}: {first['reason']}", errors)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        detail = {
            404: f"there is no {request.url.path}; GET /docs lists what there is",
            405: f"{request.method} is not possible on {request.url.path}; GET /docs lists what is",
        }.get(error.status_code, str(error.detail))
        headers = dict(error.headers or {})
        if error.status_code == 405:  # the router names the methods of the first route alone
            headers["Allow"] = ", ".join(sorted(_methods(app, request.url.path)))
        return answer(request, error.status_code, detail, headers=headers)

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        return answer(request, error.status, error.detail, headers=error.headers)

    @app.exception_handler(OperationalError)
    async def database(request: Request, error: OperationalError) -> Response:
        log.error("%s %s: %s", request.method, request.url.path, str(error.orig).splitlines()[0])
        return answer(request, 503, NO_DATABASE)

    async def known(request: Request, error: Exception) -> Response:
        status, detail = status_of(error)
        if status >= 500:
            log.error("%s %s: %s", request.method, request.url.path, detail)
        return answer(request, status, detail)

    for kind in (AsgardError, Refused, Unreachable):
        app.add_exception_handler(kind, known)


def _methods(app: FastAPI, path: str) -> set[str]:
    """What is possible on a path, by all its routes. As in OpenAPI, a path without parameters comes before one with them."""
    plain, by_pattern = set[str](), set[str]()
    for each in iter_route_contexts(app.routes):
        route = each.original_route
        if isinstance(route, Route | APIRoute) and compile_path(each.path_format or "")[0].match(path):
            (plain if each.path_format == path else by_pattern).update(route.methods or ())
    return plain or by_pattern


def _field(error: Any) -> dict[str, str]:
    """Where and why, without the value: it may be a secret."""
    place = [str(part) for part in error["loc"] if part != "body"]
    return {"field": ".".join(place) or "body", "reason": str(error["msg"]).removeprefix("Value error, ")}
