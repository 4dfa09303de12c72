"""`/health` and `/metrics`."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from asgard_assets.gateway.accounts.callers import Reader
from asgard_assets.gateway.platform import Here
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
def metrics(here: Here, caller: Reader) -> str:
    """Figures for Prometheus, over all workspaces: runs by state, success rate, mean duration, queue depth."""
    found = here.runs.totals()
    lines = [
        "# TYPE asgard_runs gauge",
        *(f'asgard_runs{{state="{s.lower()}"}} {n}' for s, n in found.by_state.items()),
    ]
    figures = {
        "asgard_queue_depth": found.queue_depth,
        "asgard_runs_running": found.running,
        "asgard_runs_success_ratio": found.success_rate,
        "asgard_runs_mean_seconds": found.mean_seconds,
    }
    for name, value in figures.items():
        if value is not None:
            lines += [f"# TYPE {name} gauge", f"{name} {value:g}"]
    return "\n".join(lines) + "\n"
