"""Pages of sources: the list, one of them, its runs, and the buttons on them."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from asgard_assets.errors import AsgardError, ConfigError
from asgard_assets.gateway.accounts.callers import Editor, Operator, Reader
from asgard_assets.gateway.autoloader.bodies import RunBody
from asgard_assets.gateway.autoloader.repairs import get_quarantine
from asgard_assets.gateway.autoloader.runs import again, run_of, start
from asgard_assets.gateway.pages.render import ROOT, page
from asgard_assets.gateway.pages.who import Form, back, who
from asgard_assets.gateway.platform import Here
from asgard_assets.operations.autoloader.schemas import decide, schema_of

router = APIRouter(prefix=f"{ROOT}/sources", include_in_schema=False)
_SHOWN = 20


@router.get("")
def sources(
    request: Request, here: Here, caller: Reader, cursor: Annotated[str, Query(max_length=100)] = ""
) -> Response:
    """The sources with their health."""
    found = here.ingestions.page(caller.sees, 50, cursor)
    lines = [(one, next(iter(here.ingestion_runs.list(one.id, 1)), None)) for one in found.ingestions]
    return page(
        "sources", title="Sources", here="Sources", who=who(request, here, caller), found=lines, total=found.total,
        as_of=found.as_of, next_cursor=found.next_cursor,
    )  # fmt: skip


@router.get("/{ingestion_id}")
def source(ingestion_id: str, request: Request, here: Here, caller: Reader) -> Response:
    """One source: runs, schema, quarantine, cost, definition."""
    found = here.ingestions.find(ingestion_id, caller.sees)
    try:
        cost = here.estimates.of(found.document, caller.sees)
    except AsgardError:
        cost = None  # its folder or cluster is away: the rest of the page is there
    return page(
        "source", title=ingestion_id, here="Sources", who=who(request, here, caller),
        one=here.ingestions.get(ingestion_id, caller.sees), runs=here.ingestion_runs.list(ingestion_id, _SHOWN),
        schema=schema_of(here.lake, found), quarantine=get_quarantine(ingestion_id, here, caller, _SHOWN), cost=cost,
    )  # fmt: skip


@router.get("/{ingestion_id}/runs/{run_id}")
def run(ingestion_id: str, run_id: str, request: Request, here: Here, caller: Reader) -> Response:
    """One run, with its log; made anew while it goes on."""
    found = run_of(here, caller, ingestion_id, run_id)
    return page(
        "run", title=f"Run {run_id[:8]}", here="Sources", who=who(request, here, caller), run=found,
        log=here.ingestion_runs.log(found),
    )  # fmt: skip


@router.post("/{ingestion_id}/run")
def run_now(ingestion_id: str, here: Here, caller: Operator, form: Form) -> Response:
    """Start a run."""
    made = start(here, caller, ingestion_id, RunBody(), "")
    return back(f"{ROOT}/sources/{ingestion_id}/runs/{made.run_id}")


@router.post("/{ingestion_id}/reload")
def reload(ingestion_id: str, here: Here, caller: Operator, form: Form) -> Response:
    """Load files with records in quarantine again."""
    made = start(here, caller, ingestion_id, RunBody(refresh="quarantined"), "")
    return back(f"{ROOT}/sources/{ingestion_id}/runs/{made.run_id}")


@router.post("/{ingestion_id}/pause")
def pause(ingestion_id: str, here: Here, caller: Operator, form: Form) -> Response:
    """Start no more runs by itself."""
    here.ingestions.pause(ingestion_id, caller.sees, by=caller.name)
    return back(f"{ROOT}/sources/{ingestion_id}")


@router.post("/{ingestion_id}/resume")
def resume(ingestion_id: str, here: Here, caller: Operator, form: Form) -> Response:
    """Let runs start again."""
    here.ingestions.resume(ingestion_id, caller.sees)
    return back(f"{ROOT}/sources/{ingestion_id}")


@router.post("/{ingestion_id}/decide")
def decide_column(ingestion_id: str, here: Here, caller: Editor, form: Form) -> Response:
    """Accept, rescue or refuse a column."""
    found, decision = here.ingestions.find(ingestion_id, caller.sees), form.get("decision", "")
    if decision not in ("accept", "rescue", "refuse"):
        raise ConfigError("decision: choose accept, rescue or refuse")
    chosen = cast(Literal["accept", "rescue", "refuse"], decision)
    decide(here.ingestions, found, form.get("column", ""), chosen, caller.name)
    return back(f"{ROOT}/sources/{ingestion_id}#schema")


@router.post("/{ingestion_id}/runs/{run_id}/retry")
def retry(ingestion_id: str, run_id: str, here: Here, caller: Operator, form: Form) -> Response:
    """Run again what has no success."""
    made = again(here, caller, ingestion_id, run_id, "")
    return back(f"{ROOT}/sources/{ingestion_id}/runs/{made.run_id}")
