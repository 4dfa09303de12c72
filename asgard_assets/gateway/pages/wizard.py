"""`/ui/new`: a source of files in three steps. Nothing is kept before the last one."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from asgard_assets.errors import AsgardError
from asgard_assets.gateway.accounts.callers import Editor
from asgard_assets.gateway.accounts.roles import EVERYWHERE, Caller
from asgard_assets.gateway.autoloader.bodies import NewAutoload
from asgard_assets.gateway.autoloader.ingestions import masked_for, wanted
from asgard_assets.gateway.pages.render import ROOT, page
from asgard_assets.gateway.pages.who import Form, back, who
from asgard_assets.gateway.platform import Here, Platform
from asgard_assets.operations.autoloader.trial import trial

router = APIRouter(prefix=f"{ROOT}/new", include_in_schema=False)
_FORMATS = ("auto", "csv", "json", "parquet", "avro", "orc", "text")
_FIELDS = {
    "name": "", "path": "", "glob": "*", "format": "auto", "workspace_name": "default", "cron": "", "time_zone": "", "start": "",
}  # fmt: skip


@router.get("")
def begin(request: Request, here: Here, caller: Editor) -> Response:
    """The first step: where the files are."""
    return _connection(request, here, caller, _given({}, caller))


@router.post("")
def go_on(request: Request, here: Here, caller: Editor, form: Form) -> Response:
    """The next step, or the source itself."""
    given, step = _given(form, caller), form.get("step", "connection")
    if step not in ("preview", "create"):
        return _connection(request, here, caller, given)
    try:
        body = _body(given)
        asked = wanted(body, here, caller, body.name)
        if step == "create":
            made = here.ingestions.create(asked)
            return back(f"{ROOT}/sources/{made.id}")
        one = here.ingestions.planned(asked)
        shown = trial(here.lake, here.ingestions.landing, one, 10, masked_for(here, caller))
        cost = here.estimates.of(one, caller.sees)
    except (AsgardError, ValidationError) as error:
        return _connection(request, here, caller, given, _said(error))
    return page(
        "new", title="New source", here="Sources", who=who(request, here, caller), step="preview", error="", given=given,
        trial=shown, cost=cost, formats=_FORMATS, landing=here.ingestions.landing.root,
    )  # fmt: skip


def _connection(
    request: Request, here: Platform, caller: Caller, given: Mapping[str, str], error: str = ""
) -> Response:
    return page(
        "new", 422 if error else 200, title="New source", here="Sources", who=who(request, here, caller), step="connection",
        error=error, given=given, formats=_FORMATS, landing=here.ingestions.landing.root,
    )  # fmt: skip


def _given(form: Mapping[str, str], caller: Caller) -> dict[str, str]:
    """What was filled in, with the usual values for the rest."""
    own = "default" if EVERYWHERE in caller.workspaces else next(iter(caller.workspaces), "default")
    return {name: form.get(name, usual)[:1000] for name, usual in (_FIELDS | {"workspace_name": own}).items()}


def _body(given: Mapping[str, str]) -> NewAutoload:
    """The same request that REST takes. Raises ValidationError."""
    schedule = {
        "mode": "scheduled" if given["cron"] else "continuous",
        "cron": given["cron"],
        "time_zone": given["time_zone"],
        "start": given["start"] or None,
    }
    source = {"path": given["path"], "glob": given["glob"] or "*"}
    told = {"name": given["name"], "workspace_name": given["workspace_name"], "format": given["format"]}
    return NewAutoload.model_validate({**told, "source": source, "schedule": schedule})


def _said(error: AsgardError | ValidationError) -> str:
    if isinstance(error, AsgardError):
        return str(error)
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg'].removeprefix('Value error, ')}"
