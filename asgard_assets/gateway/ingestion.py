"""`/datasource`, `/sink` and `/ingestion`: Postgres, MySQL and Kafka are read by the project itself, the rest by Airbyte."""

from __future__ import annotations

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from asgard_assets.gateway.accounts.callers import Editor, Reader
from asgard_assets.gateway.accounts.roles import Caller
from asgard_assets.gateway.bodies import NewIngestion, NewSink, NewSource
from asgard_assets.gateway.platform import Here
from asgard_assets.gateway.transforms import Key
from asgard_assets.operations.ingestion.airbyte import (
    DEFAULT_WORKSPACE,
    DataSource,
    Ingestion,
    IngestionStatus,
    Sink,
)
from asgard_assets.operations.ingestion.databases import KINDS
from asgard_assets.operations.ingestion.repeats import Request

router = APIRouter(tags=["Ingestion"])
Workspace = Query(
    default=DEFAULT_WORKSPACE, max_length=200, description="Airbyte's workspace; default: its first one."
)


class Sources(BaseModel):
    datasources: list[DataSource] = Field(description="The sources of the workspace, without their secrets.")
    total: int = Field(description="How many there are.")


class Sinks(BaseModel):
    sinks: list[Sink] = Field(
        description="The S3 sinks of the workspace, the oldest first, without their keys."
    )
    total: int = Field(description="How many there are.")


class Ingestions(BaseModel):
    ingestions: list[Ingestion] = Field(description="The connections of the workspace, the oldest first.")
    total: int = Field(description="How many there are.")


@router.get("/datasource")
def list_sources(here: Here, caller: Reader, workspace_name: str = Workspace) -> Sources:
    """The data sources."""
    place = caller.enter(workspace_name)
    found = [*here.airbyte().sources(place), *here.databases.sources(place)]
    return Sources(datasources=found, total=len(found))


@router.post("/datasource", status_code=201)
def create_source(body: NewSource, here: Here, caller: Editor, idempotency_key: Key = None) -> DataSource:
    """Make a data source."""
    place, airbyte = caller.enter(body.workspace_name), here.airbyte()
    own = body.source_type in KINDS
    if own:
        airbyte.workspace(place)  # raises where there is none
    maker = here.databases if own else airbyte

    def like_it() -> list[DataSource]:
        return [one for one in maker.sources(place) if one.name == body.name]

    def make() -> DataSource:
        return maker.add_source(body.source_type, place, body.source_config, body.name)

    return here.repeats.once(
        _request(caller, idempotency_key, "/datasource", body), DataSource, like_it, make
    )


@router.get("/sink")
def list_sinks(here: Here, caller: Reader, workspace_name: str = Workspace) -> Sinks:
    """The sinks."""
    found = here.airbyte().sinks(caller.enter(workspace_name))
    return Sinks(sinks=found, total=len(found))


@router.post("/sink", status_code=201)
def create_sink(body: NewSink, here: Here, caller: Editor, idempotency_key: Key = None) -> Sink:
    """Make an S3 sink."""
    config, airbyte = body.destination_config.model_dump(exclude_none=True), here.airbyte()
    place = caller.enter(body.workspace_name)

    def like_it() -> list[Sink]:
        return [one for one in airbyte.sinks(place) if one.name == body.name]

    def make() -> Sink:
        return airbyte.add_sink(place, config, body.name)

    return here.repeats.once(_request(caller, idempotency_key, "/sink", body), Sink, like_it, make)


@router.get("/ingestion")
def list_ingestions(here: Here, caller: Reader, workspace_name: str = Workspace) -> Ingestions:
    """The connections between sources and sinks."""
    place = caller.enter(workspace_name)
    found = [*here.airbyte().ingestions(place), *here.databases.ingestions(place)]
    return Ingestions(ingestions=found, total=len(found))


@router.post("/ingestion", status_code=201)
def start_ingestion(body: NewIngestion, here: Here, caller: Editor, idempotency_key: Key = None) -> Ingestion:
    """Connect a source to a sink, and start its first sync."""
    place, airbyte = caller.enter(body.workspace_name), here.airbyte()
    source = here.databases.source(body.source_id, place)
    maker = here.databases if source else airbyte
    wanted = (body.source_id, body.destination_id, body.connection_name)

    def like_it() -> list[Ingestion]:
        found = maker.ingestions(place)
        return [one for one in found if (one.source_id, one.destination_id, one.connection_name) == wanted]

    def make() -> Ingestion:
        if source is None:
            return airbyte.ingest(
                body.source_id, body.destination_id, place, body.connection_name, body.schedule
            )
        airbyte.sink(body.destination_id, place)
        return here.databases.ingest(
            source, body.destination_id, body.connection_name, body.schedule, caller.name
        )

    request = _request(caller, idempotency_key, "/ingestion", body)
    made = here.repeats.once(request, Ingestion, like_it, make, maker.started)
    here.queue.wake()
    return made


@router.get("/ingestion/{ingestion_id}/status")
def ingestion_status(ingestion_id: str, here: Here, caller: Reader) -> IngestionStatus:
    """How an ingestion stands: its last sync, and the next one."""
    return here.databases.status(ingestion_id, caller.sees) or here.airbyte().status(
        ingestion_id, caller.sees
    )


def _request(caller: Caller, key: str | None, path: str, body: BaseModel) -> Request:
    return Request(caller.name, key or "", path, body.model_dump_json())
