"""Cursors of incremental API sources: show, set, reset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.plan.checkpoint import CursorState, cursor_state, set_cursor
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.lake import Lake
from asgard_assets.operations import sources

if TYPE_CHECKING:
    import dagster as dg


def state(lake: Lake, source: ApiSource) -> CursorState:
    """Where the source stands. Raises ConfigError for one without a cursor."""
    return cursor_state(lake, source)


def set_state(lake: Lake, source: ApiSource, cursor: str) -> CursorState:
    """The next run goes on from `cursor`. Nothing is loaded or removed now."""
    set_cursor(lake, source, cursor)
    return cursor_state(lake, source)


def reset_state(lake: Lake, source: ApiSource) -> CursorState:
    """The next run begins where the very first one did (`incremental.start`). Published days stay."""
    set_cursor(lake, source, None)
    return cursor_state(lake, source)


def api_source(name: str, definitions: dg.Definitions | None = None) -> ApiSource:
    """An API source by the path of its file, or by its name in the project. Of the latter, without its `auth`.

    Raises ConfigError that lists those which exist.
    """
    from asgard_assets.ingest.api.source.config import load

    if Path(name).suffix in (".yaml", ".yml", ".json"):
        return load(Path(name))
    known = api_sources(definitions)
    if name not in known:
        raise ConfigError(
            f"there is no API source {name!r}; the project has {', '.join(sorted(known)) or 'none'}. Give one of them, "
            "or the path of a YAML file"
        )
    return known[name]


def api_sources(definitions: dg.Definitions | None = None) -> dict[str, ApiSource]:
    """Every API source that the code location has an asset for, without its `auth`."""
    from asgard_assets.components.api import API_SOURCE

    found = {}
    for spec in (definitions or sources.load_definitions()).resolve_all_asset_specs():
        if told := spec.metadata.get(API_SOURCE):
            source = ApiSource.model_validate(told.value if hasattr(told, "value") else told)
            found[source.name] = source
    return found
