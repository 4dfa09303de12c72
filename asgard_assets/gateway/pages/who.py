"""Who looks at a page, what the page offers them, and forms that nobody else can send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, Request
from starlette.responses import RedirectResponse

from asgard_assets.gateway.accounts.roles import EVERYWHERE, ROLES, Caller, May
from asgard_assets.gateway.accounts.sessions import COOKIE, Sessions
from asgard_assets.gateway.platform import Platform
from asgard_assets.gateway.problems import RefusedError

_MOST_FIELDS = 50


@dataclass(frozen=True)
class Who:
    """The caller of a page. `token`: what its forms carry; `session`: whether there is one to end."""

    name: str
    role: str
    may_run: bool
    may_edit: bool
    session: bool
    token: str
    dagster: str
    links: tuple[tuple[str, str], ...]


def who(request: Request, here: Platform, caller: Caller) -> Who:
    """What a page tells of its reader."""
    settings, actions = here.settings, ROLES[caller.role]
    shown = settings.uis if EVERYWHERE in caller.workspaces else {}
    dagster = "/dagster" if "dagster" in shown else settings.dagster_url.rstrip("/")
    links = [("Dagster", dagster)] if dagster else []
    if "mlflow" in shown:
        links.append(("MLflow", "/mlflow"))
    elif settings.mlflow_uri.startswith(("http://", "https://")) and "@" not in settings.mlflow_uri:
        links.append(("MLflow", settings.mlflow_uri))
    if "feast" in shown:
        links.append(("Feast", "/feast"))
    cookie = request.cookies.get(COOKIE, "")
    return Who(
        caller.name, caller.role, May.run in actions, May.edit in actions, bool(cookie),
        sessions_of(request).form_token(cookie), dagster, tuple(links),
    )  # fmt: skip


def sessions_of(request: Request) -> Sessions:
    return request.app.state.sessions


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form of this session. Raises RefusedError where another page has made it."""
    try:
        told = parse_qs((await request.body()).decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise RefusedError(400, "the form cannot be read; load the page again") from error
    found = {name: values[-1] for name, values in told.items()}
    expected = sessions_of(request).form_token(request.cookies.get(COOKIE, ""))
    if found.pop("form_token", "") != expected:
        raise RefusedError(400, "the form is of an older session; load the page again, and send it once more")
    return found


Form = Annotated[dict[str, str], Depends(form_of)]


def back(path: str) -> RedirectResponse:
    """To a page, after a form was sent."""
    return RedirectResponse(path, 303)
