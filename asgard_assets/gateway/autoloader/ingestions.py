"""`/api/v1/ingestions`: made, tried, estimated, listed, changed, deleted, paused."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from asgard_assets.gateway.accounts.callers import Editor, Operator, Reader
from asgard_assets.gateway.accounts.roles import ROLES, Caller, May
from asgard_assets.gateway.autoloader.bodies import Estimated, NewAutoload, PauseBody, SourceBody, Tried
from asgard_assets.gateway.features import IfMatch, expected
from asgard_assets.gateway.platform import Here, Platform
from asgard_assets.operations.autoloader.estimate import CostEstimate
from asgard_assets.operations.autoloader.ingestions import IngestionInfo
from asgard_assets.operations.autoloader.places import to_run
from asgard_assets.operations.autoloader.trial import Trial, trial
from asgard_assets.operations.autoloader.wanted import WantedIngestion

router = APIRouter(prefix="/api/v1/ingestions", tags=["Ingestions"])
NO_REASON = PauseBody()


class Listed(BaseModel):
    ingestions: list[IngestionInfo] = Field(description="The ingestions, by name.")
    total: int = Field(description="How many there are.")
    next_cursor: str = Field(description="Send it as ?cursor= to go on; empty at the end.")
    as_of: str = Field(description="When they were listed: two seconds ago at most.")


@router.post("", status_code=201)
def create_ingestion(body: NewAutoload, here: Here, caller: Editor, response: Response) -> IngestionInfo:
    """Make an ingestion. Its data is loaded by itself, and with POST …/run at once."""
    made = here.ingestions.create(wanted(body, here, caller, body.name))
    response.headers["ETag"] = f'"{made.revision}"'
    return made


@router.get("")
def list_ingestions(
    here: Here,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=500, description="At most so many.")] = 50,
    cursor: Annotated[str, Query(max_length=100, description="Where an earlier page ended.")] = "",
    workspace_name: Annotated[str, Query(max_length=200, description="Only those of this workspace.")] = "",
) -> Listed:
    """The ingestions, by name."""
    page = here.ingestions.page(caller.sees, limit, cursor, workspace_name)
    return Listed(
        ingestions=list(page.ingestions), total=page.total, next_cursor=page.next_cursor, as_of=page.as_of
    )


@router.post("/test")
def test_ingestion(body: Tried, here: Here, caller: Editor) -> Trial:
    """Read some rows as a load would, and say what would change. Nothing is written."""
    one = here.ingestions.planned(wanted(body, here, caller, body.name))
    return trial(here.lake, here.ingestions.landing, one, body.limit, masked_for(here, caller))


@router.post("/estimate-cost")
def estimate_cost(body: Estimated, here: Here, caller: Editor) -> CostEstimate:
    """What an ingestion will cost, whether it was made or not: from real files, its schedule and declared prices."""
    one = here.ingestions.planned(wanted(body, here, caller, body.name))
    return here.estimates.of(one, caller.sees)


@router.get("/{ingestion_id}")
def get_ingestion(ingestion_id: str, here: Here, caller: Reader, response: Response) -> IngestionInfo:
    """An ingestion, with the YAML that a project would hold."""
    found = here.ingestions.get(ingestion_id, caller.sees)
    response.headers["ETag"] = f'"{found.revision}"'
    return found


@router.put("/{ingestion_id}")
def update_ingestion(
    ingestion_id: str,
    body: SourceBody,
    here: Here,
    caller: Editor,
    response: Response,
    if_match: IfMatch = None,
) -> IngestionInfo:
    """Change an ingestion: a new revision. Runs that go on end with the one that they began with."""
    made = here.ingestions.change(wanted(body, here, caller, ingestion_id), expected(if_match))
    response.headers["ETag"] = f'"{made.revision}"'
    return made


@router.delete("/{ingestion_id}", status_code=204, response_class=Response)
def delete_ingestion(ingestion_id: str, here: Here, caller: Editor, if_match: IfMatch = None) -> Response:
    """Delete an ingestion. Its table and its history stay."""
    here.ingestions.remove(ingestion_id, caller.sees, caller.name, expected(if_match))
    return Response(status_code=204)


@router.post("/{ingestion_id}/pause")
def pause_ingestion(
    ingestion_id: str, here: Here, caller: Operator, body: PauseBody = NO_REASON
) -> IngestionInfo:
    """Start no more runs by itself. Runs that go on are not stopped."""
    return here.ingestions.pause(ingestion_id, caller.sees, body.reason, caller.name)


@router.post("/{ingestion_id}/resume")
def resume_ingestion(ingestion_id: str, here: Here, caller: Operator) -> IngestionInfo:
    """Let runs start again. Waiting files are picked up at the next tick."""
    return here.ingestions.resume(ingestion_id, caller.sees)


@router.post("/{ingestion_id}/estimate-cost")
def estimate_ingestion(ingestion_id: str, here: Here, caller: Reader) -> CostEstimate:
    """What an ingestion costs from now on: from its past runs where there are some."""
    return here.estimates.of(here.ingestions.find(ingestion_id, caller.sees).document, caller.sees, keep=True)


def wanted(body: SourceBody, here: Platform, caller: Caller, name: str) -> WantedIngestion:
    """What a body asks for. Raises NotAllowedError or ConfigError where workspace or cluster are not the caller's."""
    caller.enter(body.workspace_name)
    to_run(here.settings, body.cluster, caller.sees)
    return body.wanted(name, caller.name, caller.workspaces)


def masked_for(here: Platform, caller: Caller) -> frozenset[str]:
    """Columns whose values this caller does not see."""
    if May.edit in ROLES[caller.role]:
        return frozenset()
    return frozenset(name.lower() for name in here.settings.gateway_masked_columns)
