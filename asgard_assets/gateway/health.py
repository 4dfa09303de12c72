"""`/health` and `/metrics`."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from asgard_assets.gateway.accounts.callers import Reader
from asgard_assets.gateway.platform import Here
from asgard_assets.telemetry.exposition import CONTENT_TYPE, exposition
from asgard_assets.version import VERSION

router = APIRouter(tags=["Health"])


class Health(BaseModel):
    status: Literal["healthy", "unavailable"] = Field(description="healthy: requests are answered.")
    version: str = Field(description="Version of Asgard.")
    environment: str = Field(description="local or production.")


@router.get("/health")
def health(here: Here) -> Health:
    """Whether the server is alive."""
    return Health(status="healthy", version=VERSION, environment=here.settings.env)


@router.get("/health/ready")
def ready(here: Here, response: Response) -> Health:
    """Whether lake and history can be read: 503 where they cannot."""
    try:
        here.lake.tables()
        here.runs.jobs(1)
    except OSError:
        response.status_code = 503
        return Health(status="unavailable", version=VERSION, environment=here.settings.env)
    return health(here)


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(here: Here, caller: Reader) -> Response:
    """Figures for Prometheus, over all workspaces: runs, durations, rows, requests, lag, quarantine, age of tables."""
    return Response(exposition(here.watch.facts()), media_type=CONTENT_TYPE)
