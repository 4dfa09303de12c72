"""The app: its routes behind the door."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError

from asgard_assets.errors import AsgardError
from asgard_assets.gateway import features, health, ingestion, mlops, models, serving, transforms
from asgard_assets.gateway.accounts.gate import Gate
from asgard_assets.gateway.accounts.sessions import Sessions, secret_of
from asgard_assets.gateway.autoloader import clusters, ingestions, repairs, runs
from asgard_assets.gateway.door import LOOPBACK, Door
from asgard_assets.gateway.pages import login, look, sources, wizard
from asgard_assets.gateway.platform import Platform
from asgard_assets.gateway.problems import RESPONSES, add_handlers
from asgard_assets.gateway.uis.proxy import Uis
from asgard_assets.version import VERSION

log = logging.getLogger(__name__)


def create_app(platform: Platform, gate: Gate, hosts: Iterable[str] = LOOPBACK) -> FastAPI:
    """The API over a platform. Its queue runs as long as the app does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        _mend(platform)
        with platform.queue:
            yield
        platform.models.close()

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
    # Routes are tried in this order: what is asked very often comes first.
    for often in (health.router, features.router, mlops.router):
        app.include_router(often)
    for prefix, tag in transforms.PREFIXES.items():
        app.include_router(transforms.router, prefix=prefix, tags=[tag])
    for router in (
        ingestion.router,
        runs.router,
        repairs.router,
        ingestions.router,
        clusters.router,
        models.router,
        serving.router,
    ):
        app.include_router(router)
    for pages in (login.router, look.router, sources.router, wizard.router):
        app.include_router(pages)
    if platform.settings.uis:
        app.add_middleware(Uis, uis=platform.settings.uis, sessions=app.state.sessions)
    app.add_middleware(Door, gate=gate, hosts=hosts, sessions=app.state.sessions)
    return app


def _mend(platform: Platform) -> None:
    """Finish what an earlier process has begun. Where the lake or the database is away, the next start does it."""
    try:
        platform.databases.mend()
    except (AsgardError, OSError, DBAPIError) as error:
        log.warning("what an earlier gateway has left is not looked at: %s", str(error).splitlines()[0])
