"""`/mlops`: scripts train models, models answer."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from asgard_assets.errors import NotFoundError
from asgard_assets.gateway.accounts.callers import Reader, Trainer
from asgard_assets.gateway.bodies import NewInference, NewTraining
from asgard_assets.gateway.platform import Here
from asgard_assets.gateway.transforms import Key, Logs, logs_of
from asgard_assets.operations.serving.predictions import ModelStatus, Prediction
from asgard_assets.operations.serving.trainings import TrainingRun, WantedModel

router = APIRouter(prefix="/mlops", tags=["Models"])


class MlopsStatus(BaseModel):
    status: Literal["healthy"] = Field(description="The registry of models answers.")
    models: list[ModelStatus] = Field(description="The models with their versions.")
    training: Literal["on", "off"] = Field(description="Whether scripts may be sent.")


class Uploaded(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    run_id: str = Field(description="Id of the run, for status and logs.")
    status: Literal["submitted"] = Field(description="The run is queued.")
    model_name: str = Field(description="The model that gets a version.")
    revision: int = Field(description="Number of the script.")


@router.get("/status")
def mlops_status(here: Here, caller: Reader) -> MlopsStatus:
    """The registered models, their versions and champions."""
    found = [one for one in here.models.status() if here.trainings.seen(one.name, caller.sees)]
    training = "on" if here.settings.gateway_training else "off"
    return MlopsStatus(status="healthy", models=found, training=training)


@router.post("/inference")
def infer(body: NewInference, here: Here, caller: Reader) -> Prediction:
    """What a model predicts for the rows that are sent: its champion, or the version that is named."""
    if not here.trainings.seen(body.model_name, caller.sees):
        raise NotFoundError(f"there is no model {body.model_name!r}; see GET /mlops/status")
    return here.models.predict(body.model_name, body.inputs, body.version, body.shadow)


@router.post("/training/upload", status_code=202)
def upload_training(body: NewTraining, here: Here, caller: Trainer, idempotency_key: Key = None) -> Uploaded:
    """Train a model by a script, closed in. It finds its features under ASGARD_FEATURES and leaves a fitted `model`."""
    wanted = WantedModel(
        body.model_name, body.script_content, body.features, body.labels, body.promote, caller.enter(body.workspace_name),
        caller.name, idempotency_key or "",
    )  # fmt: skip
    made = here.trainings.add(wanted)
    here.queue.wake()
    return Uploaded(
        run_id=made.run_id, status="submitted", model_name=body.model_name, revision=made.revision
    )


@router.get("/training/{run_id}/status")
def training_status(run_id: str, here: Here, caller: Reader) -> TrainingRun:
    """How a training stands, which version it made, and why it failed."""
    return here.trainings.run(run_id, caller.sees)


@router.get("/training/{run_id}/logs")
def training_logs(
    run_id: str, here: Here, caller: Reader,
    cursor: Annotated[str, Query(max_length=500, description="Where an earlier page ended.")] = "",
) -> Logs:  # fmt: skip
    """A training's log, with what its script printed."""
    here.trainings.run(run_id, caller.sees)  # raises where it is none
    return logs_of(here, run_id, cursor)
