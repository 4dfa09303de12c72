"""Feast's page below /feast. Feast builds it for the root of a server: addresses in its files are set once, at the start."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError

if TYPE_CHECKING:
    from feast import FeatureStore
    from starlette.types import ASGIApp

PREFIX = "/feast"
_BASE = re.compile(r'(\b\w)=""(;return[^;]{1,60}\{basename:\1,future)')
"""Where Feast's script says below which path it is."""


def feast_app(store: FeatureStore) -> ASGIApp:
    """Feast's own server with the page of its version, both below /feast."""
    from feast.ui_server import get_app
    from starlette.responses import Response

    inner = get_app(store, store.project, PREFIX, cors_origins=[])
    own = pages(Path(str(resources.files("feast") / "ui" / "build")))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return
        path = scope["path"].removeprefix(PREFIX) or "/"
        page = own.get("/index.html" if path == "/" or path.startswith("/p/") else path)
        if page is not None:
            kind = mimetypes.guess_type(path)[0] or "text/html"
            await Response(page, media_type=kind)(scope, receive, send)
            return
        raw = scope.get("raw_path", path.encode()).removeprefix(PREFIX.encode()) or b"/"
        await inner({**scope, "path": path, "raw_path": raw, "root_path": ""}, receive, send)

    return app


def pages(build: Path) -> Mapping[str, bytes]:
    """The files that hold addresses, by their path, with /feast in front. Raises ConfigError where Feast has another page."""
    found = {"/index.html": (build / "index.html").read_text().replace('="/', f'="{PREFIX}/')}
    for file in sorted((build / "static").rglob("main.*")):
        if file.suffix in (".js", ".css"):
            text = file.read_text().replace("url(/static/", f"url({PREFIX}/static/")
            text = text.replace('"/api/', f'"{PREFIX}/api/')
            text = text.replace('.p="/"', f'.p="{PREFIX}/"')  # where further scripts are loaded from
            found[f"/{file.relative_to(build)}"] = _BASE.sub(rf'\1="{PREFIX}"\2', text)
    if f'"{PREFIX}"' not in "".join(found.values()):
        raise ConfigError(
            "Feast's page is of a version that is not known here; pin feast to the one of requirements.lock"
        )
    return {path: text.encode() for path, text in found.items()}
