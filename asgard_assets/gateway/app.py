"""The app: its routes behind the door."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from asgard_assets.gateway import features, health, ingestion, mlops, models, serving, transforms
from asgard_assets.gateway.accounts.gate import Gate
from asgard_assets.gateway.accounts.sessions import Sessions, secret_of
from asgard_assets.gateway.autoloader import clusters, ingestions, repairs, runs
from asgard_assets.gateway.door import LOOPBACK, Door
from asgard_assets.gateway.pages import login, look, sources, wizard
from asgard_assets.gateway.platform import Platform
from asgard_assets.gateway.problems import RESPONSES, add_handlers
from asgard_assets.version import VERSION


def create_app(platform: Platform, gate: Gate, hosts: Iterable[str] = LOOPBACK) -> FastAPI:
    """The API over a platform. Its queue runs as long as the app does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with platform.queue:
            yield

    app = FastAPI(
        title="Asgard",
        version=VERSION,
        description="Sources, sinks, ingestions and transforms of one Asgard project.",
        lifespan=lifespan,
        responses=RESPONSES,
        redirect_slashes=False,
    )
    app.state.platform = platform
    app.state.sessions = Sessions(gate.accounts, secret_of(platform.settings))
    add_handlers(app)
    app.include_router(health.router)
    app.include_router(ingestion.router)
    for prefix, tag in transforms.PREFIXES.items():
        app.include_router(transforms.router, prefix=prefix, tags=[tag])
    app.include_router(runs.router)
    app.include_router(repairs.router)
    app.include_router(ingestions.router)
    app.include_router(clusters.router)
    app.include_router(models.router)
    app.include_router(serving.router)
    app.include_router(features.router)
    app.include_router(mlops.router)
    for pages in (login.router, look.router, sources.router, wizard.router):
        app.include_router(pages)
    app.add_middleware(Door, gate=gate, hosts=hosts, sessions=app.state.sessions)
    return app
