"""`/dbt/transform`: SQL that dbt builds, tests and publishes as a Gold table."""

from __future__ import annotations

from fastapi import APIRouter

from asgard_assets.gateway.accounts.callers import Editor, Reader
from asgard_assets.gateway.bodies import NewModel
from asgard_assets.gateway.platform import Here
from asgard_assets.gateway.transforms import Key, Submitted, submitted
from asgard_assets.operations.transforms.follow import RunStatus
from asgard_assets.operations.transforms.submit import Wanted

router = APIRouter(prefix="/dbt/transform", tags=["dbt"])


@router.post("", status_code=202)
def submit_model(body: NewModel, here: Here, caller: Editor, idempotency_key: Key = None) -> Submitted:
    """Check the SQL, keep it as the table's definition, and queue a run that builds and tests it."""
    wanted = Wanted(
        body.sql_query,
        body.write_mode,
        body.output_table,
        caller.enter(body.workspace_name),
        account=caller.name,
        idempotency_key=idempotency_key or "",
        engine="dbt",
        key=body.key,
    )
    return submitted(here, wanted)


@router.get("/{run_id}/status")
def model_status(run_id: str, here: Here, caller: Reader) -> RunStatus:
    """How a run stands."""
    return here.runs.status(run_id, caller.sees)
