"""`/api/v1/ingestions/{id}/run`, `…/runs` and `…/retry`."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from asgard_assets.gateway.accounts.callers import Operator, Reader
from asgard_assets.gateway.accounts.roles import Caller
from asgard_assets.gateway.autoloader.bodies import RunBody
from asgard_assets.gateway.platform import Here, Platform
from asgard_assets.gateway.transforms import Key
from asgard_assets.operations.autoloader.refresh import Refresh, refresh
from asgard_assets.operations.autoloader.runs import Ask, IngestionRun

router = APIRouter(prefix="/api/v1/ingestions", tags=["Ingestion runs"])
NOTHING_SAID = RunBody()


class Started(BaseModel):
    run_id: str = Field(description="Id of the run: GET …/runs/{run_id}. Empty where nothing was started.")
    ingestion_id: str = Field(description="The ingestion.")
    status: Literal["submitted", "dry_run"] = Field(description="submitted: the run is queued.")
    would_load: Refresh | None = Field(default=None, description="Of a dry run: what would be loaded.")


class IngestionRuns(BaseModel):
    runs: list[IngestionRun] = Field(description="The runs, the newest first.")
    total: int = Field(description="How many are listed.")


class RunLog(BaseModel):
    run_id: str = Field(description="Id of the run.")
    logs: list[str] = Field(description="What happened, the last lines.")


@router.post("/{ingestion_id}/run", status_code=202)
def run_ingestion(
    ingestion_id: str, here: Here, caller: Operator, response: Response, body: RunBody = NOTHING_SAID, idempotency_key: Key = None
) -> Started:  # fmt: skip
    """Start a run now. Only what is new or changed is loaded, unless `refresh` asks for more."""
    found = here.ingestions.find(ingestion_id, caller.sees)
    if body.dry_run:
        response.status_code = 200
        told = refresh(here.lake, here.ingestions, found, body.refresh, body.partitions)
        return Started(run_id="", ingestion_id=ingestion_id, status="dry_run", would_load=told)
    return start(here, caller, ingestion_id, body, idempotency_key or "")


@router.get("/{ingestion_id}/runs")
def list_runs(
    ingestion_id: str,
    here: Here,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=200, description="At most so many.")] = 20,
) -> IngestionRuns:
    """The runs, the newest first: those that people started, and those of sensors and schedules."""
    here.ingestions.find(ingestion_id, caller.sees)
    found = here.ingestion_runs.list(ingestion_id, limit)
    return IngestionRuns(runs=found, total=len(found))


@router.get("/{ingestion_id}/runs/{run_id}")
def get_run(ingestion_id: str, run_id: str, here: Here, caller: Reader) -> IngestionRun:
    """A run: its state, figures and errors; while it goes on, how far it is."""
    return run_of(here, caller, ingestion_id, run_id)


@router.get("/{ingestion_id}/runs/{run_id}/logs")
def run_log(ingestion_id: str, run_id: str, here: Here, caller: Reader) -> RunLog:
    """What happened in a run, the last lines."""
    found = run_of(here, caller, ingestion_id, run_id)
    return RunLog(run_id=run_id, logs=here.ingestion_runs.log(found))


@router.post("/{ingestion_id}/runs/{run_id}/retry", status_code=202)
def retry_run(
    ingestion_id: str, run_id: str, here: Here, caller: Operator, idempotency_key: Key = None
) -> Started:
    """Run what a failed run has not loaded, again."""
    return again(here, caller, ingestion_id, run_id, idempotency_key or "")


def start(here: Platform, caller: Caller, ingestion_id: str, body: RunBody, idempotency_key: str) -> Started:
    """Queue a run. Raises NotFoundError or ConfigError."""
    found = here.ingestions.find(ingestion_id, caller.sees)
    here.estimates.keep(found.document, caller.sees)
    asked = Ask(body.refresh, body.partitions, caller.name, idempotency_key)
    table = here.ingestions.tables(found)[0]
    made = here.ingestion_runs.start(ingestion_id, table, found.number, found.document.workspace, asked)
    here.queue.wake()
    return Started(run_id=made.run_id, ingestion_id=ingestion_id, status="submitted")


def again(here: Platform, caller: Caller, ingestion_id: str, run_id: str, idempotency_key: str) -> Started:
    """Queue a failed run again. Raises NotFoundError or ConflictError."""
    found = here.ingestions.find(ingestion_id, caller.sees)
    table, workspace = here.ingestions.tables(found)[0], found.document.workspace
    who = Ask(account=caller.name, idempotency_key=idempotency_key)
    made = here.ingestion_runs.retry(ingestion_id, run_id, table, workspace, who)
    here.queue.wake()
    return Started(run_id=made.run_id, ingestion_id=ingestion_id, status="submitted")


def run_of(here: Platform, caller: Caller, ingestion_id: str, run_id: str) -> IngestionRun:
    """Raises NotFoundError."""
    here.ingestions.find(ingestion_id, caller.sees)
    return here.ingestion_runs.get(ingestion_id, run_id)
