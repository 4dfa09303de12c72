"""Cursors of incremental API sources: show, set, reset."""

from __future__ import annotations

from asgard_assets.ingest.api.plan.checkpoint import CursorState, cursor_state, set_cursor
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.lake import Lake


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
