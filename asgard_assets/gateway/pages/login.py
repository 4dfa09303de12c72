"""`/ui/login` and `/ui/logout`, and the style sheet that the form needs."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from asgard_assets.gateway.accounts.callers import Reader
from asgard_assets.gateway.accounts.sessions import COOKIE, SECONDS
from asgard_assets.gateway.pages.render import LOGIN, ROOT, STYLE, page
from asgard_assets.gateway.pages.who import Form, back, sessions_of
from asgard_assets.gateway.problems import RefusedError

router = APIRouter(include_in_schema=False)


@router.get(STYLE)
def style() -> FileResponse:
    """The style sheet."""
    return FileResponse(Path(__file__).with_name("style.css"), media_type="text/css")


@router.get(LOGIN)
def login_form() -> Response:
    """The form to log in."""
    return page("login", title="Log in", status=200, detail="", who=None)


@router.post(LOGIN)
async def login(request: Request) -> Response:
    """Begin a session with the key of an account."""
    try:
        told = parse_qs((await request.body()).decode(errors="replace"), max_num_fields=5)
    except ValueError as error:
        raise RefusedError(400, "the form cannot be read; load the page again") from error
    cookie = await run_in_threadpool(sessions_of(request).begin, told.get("key", [""])[-1])
    if cookie is None:
        return page(
            "login", 422, title="Log in", status=422, detail="This key is none, or it has ended.", who=None
        )
    if caller := await run_in_threadpool(sessions_of(request).caller, cookie):
        request.state.account = caller.name  # the audit log says who has logged in
    answer = back(ROOT)
    answer.set_cookie(
        COOKIE, cookie, max_age=SECONDS, path="/", httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )  # fmt: skip
    return answer


@router.post(f"{ROOT}/logout")
def logout(form: Form, caller: Reader) -> Response:
    """End the session of this browser."""
    answer = back(LOGIN)
    answer.delete_cookie(COOKIE, path="/")
    return answer
