"""`/feast/features`: feature views are listed, sent, and read online."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, Field, TypeAdapter

from asgard_assets.errors import ConfigError
from asgard_assets.gateway.accounts.callers import Editor, Reader
from asgard_assets.gateway.accounts.roles import ROLES, May
from asgard_assets.gateway.bodies import NewFeatures, OnlineKeys
from asgard_assets.gateway.platform import Here
from asgard_assets.gateway.transforms import Key
from asgard_assets.operations.serving.features import OnlineValues, ViewInfo, WantedView

router = APIRouter(prefix="/feast/features", tags=["Features"])
_ONLINE = TypeAdapter(OnlineValues)
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=200,
        description="ETag of the definition that is changed: refused with 412 if it was changed since.",
    ),
]


class FeatureViews(BaseModel):
    features: list[ViewInfo] = Field(description="The feature views, by name.")
    total: int = Field(description="How many there are.")


class NewView(BaseModel):
    name: str = Field(description="Name of the view.")
    entities: list[str] = Field(description="Columns that name what the features are about.")
    source: dict[str, str] = Field(description="The table that it reads: table_name and schema.")
    features: dict[str, str] = Field(description="The features with their types.")
    revision: int = Field(description="How often the view was changed.")
    status: Literal["submitted"] = Field(description="The run that serves it online is queued.")
    run_id: str = Field(description="Id of that run: GET /transform/RUN_ID/status.")


def expected(if_match: str | None) -> int | None:
    """The revision that a caller has seen. Raises ConfigError where the header is no ETag of a definition."""
    if if_match is None or if_match.strip() == "*":
        return None
    number = if_match.strip().removeprefix("W/").strip('"')
    if not number.isdecimal() or len(number) > 9:
        raise ConfigError("If-Match: send the ETag that GET gave for it")
    return int(number)


@router.post("", status_code=201)
def create_features(
    body: NewFeatures, here: Here, caller: Editor, response: Response, idempotency_key: Key = None, if_match: IfMatch = None
) -> NewView:  # fmt: skip
    """Make columns of a table features: they are there for training at once, and online when the run has ended."""
    wanted = WantedView(
        body.name, body.source.table_name, body.source.stage, body.entities, body.features, body.source.timestamp_field,
        body.ttl_days, body.description, caller.enter(body.workspace_name), caller.name, idempotency_key or "",
        expected(if_match),
    )  # fmt: skip
    made = here.features.add(wanted)
    here.queue.wake()
    response.headers["ETag"] = f'"{made.info.revision}"'
    return NewView(
        name=made.info.name, entities=list(made.info.entities), source=made.info.source, features=made.info.features,
        revision=made.info.revision, status="submitted", run_id=made.run_id,
    )  # fmt: skip


@router.get("")
def list_features(here: Here, caller: Reader) -> FeatureViews:
    """The feature views: of the project's files, and those that were sent."""
    found = here.features.list(caller.sees)
    return FeatureViews(features=found, total=len(found))


@router.get("/{name}")
def get_features(name: str, here: Here, caller: Reader, response: Response) -> ViewInfo:
    """One feature view."""
    found = here.features.get(name, caller.sees)
    if found.revision:
        response.headers["ETag"] = f'"{found.revision}"'
    return found


@router.post("/{name}/online", response_model=OnlineValues)
def online_features(name: str, body: OnlineKeys, here: Here, caller: Reader) -> Response:
    """The newest values of each key. Masked features are clear for editors, trainers and admins."""
    clear = bool({May.edit, May.train} & ROLES[caller.role])
    found = here.features.online(name, body.entities, caller.sees, clear)
    return Response(_ONLINE.dump_json(found), media_type="application/json")  # it is asked for very often
