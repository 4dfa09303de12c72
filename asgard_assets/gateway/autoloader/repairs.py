"""`/api/v1/ingestions/{id}/schema` and `…/quarantine`: what did not fit, and what is to be done about it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from asgard_assets.gateway.accounts.callers import Editor, Operator, Reader
from asgard_assets.gateway.accounts.roles import ROLES, May
from asgard_assets.gateway.autoloader.bodies import RunBody
from asgard_assets.gateway.autoloader.runs import Started, start
from asgard_assets.gateway.platform import Here
from asgard_assets.gateway.transforms import Key
from asgard_assets.operations.autoloader.ingestions import IngestionInfo
from asgard_assets.operations.autoloader.quarantine import Quarantine, quarantine_of
from asgard_assets.operations.autoloader.schemas import Schema, decide, schema_of
from asgard_assets.quality.tables import Model

router = APIRouter(prefix="/api/v1/ingestions", tags=["Schema and quarantine"])


class DecisionBody(Model):
    column: str = Field(
        min_length=1, max_length=500, description="Column that is new, gone or of another type."
    )
    decision: Literal["accept", "rescue", "refuse"] = Field(
        description="accept: take it as it is. rescue: keep its values in _rescued_data. refuse: fail files that have it."
    )


@router.get("/{ingestion_id}/schema")
def get_schema(ingestion_id: str, here: Here, caller: Reader) -> Schema:
    """The columns, every change (NEW_COLUMN, REMOVED_COLUMN, TYPE_CHANGE), and what was decided."""
    return schema_of(here.lake, here.ingestions.find(ingestion_id, caller.sees))


@router.post("/{ingestion_id}/schema/changes")
def decide_change(ingestion_id: str, body: DecisionBody, here: Here, caller: Editor) -> IngestionInfo:
    """Decide what loads do with a column from now on."""
    found = here.ingestions.find(ingestion_id, caller.sees)
    return decide(here.ingestions, found, body.column, body.decision, caller.name)


@router.get("/{ingestion_id}/quarantine")
def get_quarantine(
    ingestion_id: str, here: Here, caller: Reader,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many records.")] = 100,
    offset: Annotated[int, Query(ge=0, le=10_000_000, description="So many records are left out.")] = 0,
    file: Annotated[str, Query(max_length=1000, description="Only those of this file.")] = "",
) -> Quarantine:  # fmt: skip
    """Files and records that could not be loaded, why, and as they were written. Raw text is for editors."""
    here.ingestions.find(ingestion_id, caller.sees)
    found = quarantine_of(here.lake, ingestion_id, limit, offset, file)
    return found if May.edit in ROLES[caller.role] else found.without_raw()


@router.post("/{ingestion_id}/quarantine/reload", status_code=202)
def reload_quarantine(
    ingestion_id: str, here: Here, caller: Operator, idempotency_key: Key = None
) -> Started:
    """Load files with records in quarantine again, after they or the definition were repaired."""
    return start(here, caller, ingestion_id, RunBody(refresh="quarantined"), idempotency_key or "")
