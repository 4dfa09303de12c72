"""Endpoints of the source documents that are not built yet: each answers 501 and says so."""

from __future__ import annotations

from fastapi import APIRouter, Request

from asgard_assets.errors import NotBuiltError
from asgard_assets.gateway.accounts.callers import Reader

LATER = {
    ("POST", "/mlops/training/upload"): "a model is a folder of the project: docs/own-model.md",
}
router = APIRouter(tags=["Not built yet"])


def _answer(request: Request, caller: Reader) -> None:
    """Not built yet: answers 501, with what to use instead."""
    instead = LATER[request.method, request.scope["route"].path]
    raise NotBuiltError(
        f"{request.method} {request.scope['route'].path} is not built yet. Until then: {instead}"
    )


for (method, path), _ in LATER.items():
    router.add_api_route(path, _answer, methods=[method], status_code=501)
