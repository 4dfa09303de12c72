"""`asgard state`: where each source and table stands. Writes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgard_assets.components.following.outlook import Outlook, outlooks
from asgard_assets.errors import SourceError
from asgard_assets.ingest.api.plan.checkpoint import CursorState, cursor_state
from asgard_assets.ingest.files.plan.control import read_control
from asgard_assets.ingest.files.plan.listing import FileState, Scan, State, file_states, scan
from asgard_assets.operations.partitions import Span
from asgard_assets.operations.sources import Kind, Source
from asgard_assets.operations.targets import Target
from asgard_assets.operations.todo import Finder, last_run_failed

if TYPE_CHECKING:
    pass

_MOST_FILES = 10_000_000


@dataclass(frozen=True)
class Backlog:
    """What a file source has not loaded yet."""

    files: int
    bytes: int
    days: int
    oldest_seconds: int
    failed_files: int


@dataclass(frozen=True)
class TableState:
    """Where a table stands: how many partitions it has, and how many of them were never published or failed last."""

    asset: str
    partitions: int | None
    published: int
    missing: int
    failed: int
    last_published: float | None
    newest: str = ""
    cursor: str = ""


@dataclass(frozen=True)
class SourceState:
    """Where a source stands. `paused` says since when, by whom and why; `error` that it cannot be looked at."""

    source: str
    kind: Kind
    paused: str
    tables: tuple[TableState, ...]
    backlog: Backlog | None = None
    cursor: CursorState | None = None
    error: str = ""


@dataclass(frozen=True)
class Files:
    """Files of a source in some states; `counts` counts all of them, `files` shows the first."""

    counts: Mapping[str, int]
    files: tuple[FileState, ...] = field(default=())


def source_states(finder: Finder, target: Target) -> Iterator[SourceState]:
    """The sources of a target, one after the other. One that cannot be listed says so in `error`."""
    for source in target.sources:
        yield _source_state(finder, source)


def table_states(finder: Finder, target: Target) -> Iterator[TableState]:
    """The assets of a target that belong to no source."""
    own = {asset for source in target.sources for asset in (*source.assets, *source.tables)}
    for asset in target.assets:
        if asset not in own:
            yield _table_state(finder, asset)


def lake_states(finder: Finder, target: Target) -> list[Outlook]:
    """What of the target's tables is missing, stale, failing or held; of those that are built from other tables."""
    import dagster as dg

    repository = finder.catalog.definitions.get_repository_def()
    keys = [dg.AssetKey.from_user_string(asset) for asset in target.assets]
    return outlooks(finder.lake, repository, finder.instance, keys, watch=finder.watch)


def list_files(
    finder: Finder, source: Source, states: set[State] | None, span: Span | None, limit: int
) -> Files:
    """The files of a file source; of an Airbyte source, those of all its streams."""
    counts, shown = dict[str, int](), list[FileState]()
    for name in file_names(source):
        one = finder.catalog.files[name]
        for found in file_states(finder.lake, finder.landing, one, states, finder.listing(one)):
            if span is not None and not span.holds(found.ds):
                continue
            counts[found.state] = counts.get(found.state, 0) + 1
            if len(shown) < limit:
                shown.append(found)
    return Files(counts, tuple(shown))


def file_names(source: Source) -> list[str]:
    """The file sources that a source loads: itself, or the Bronze tables of an Airbyte connection's streams."""
    if source.kind in (Kind.api, Kind.database):
        return []
    return [table.partition("/")[2] for table in source.tables]


def _source_state(finder: Finder, source: Source) -> SourceState:
    pause = str(read_control(finder.lake, source.name).pause or "")
    tables = tuple(_table_state(finder, asset) for asset in dict.fromkeys((*source.assets, *source.tables)))
    if api := finder.catalog.apis.get(source.name) if source.kind is Kind.api else None:
        cursor = cursor_state(finder.lake, api) if api.incremental else None
        return SourceState(source.name, source.kind, pause, tables, cursor=cursor)
    try:
        backlog = _backlog(finder, source)
    except SourceError as error:
        return SourceState(source.name, source.kind, pause, tables, error=str(error))
    return SourceState(source.name, source.kind, pause, tables, backlog)


def _backlog(finder: Finder, source: Source) -> Backlog | None:
    parts = []
    for name in file_names(source):
        one = finder.catalog.files[name]
        parts.append(
            scan(finder.lake, finder.landing, one, full=True, max_files=_MOST_FILES, tell=finder.listing(one))
        )
    return backlog_of(parts) if parts else None


def backlog_of(parts: Sequence[Scan]) -> Backlog:
    """The listings of a source's folders, added up."""
    oldest = min((found.oldest_us for found in parts if found.oldest_us), default=None)
    return Backlog(
        files=sum(found.files for found in parts),
        bytes=sum(found.bytes for found in parts),
        days=len({day for found in parts for day in found.todo}),
        oldest_seconds=round(time.time() - oldest / 1e6) if oldest else 0,
        failed_files=sum(len(found.failed) for found in parts),
    )


def _table_state(finder: Finder, asset: str) -> TableState:
    import dagster as dg

    key = dg.AssetKey.from_user_string(asset)
    definition: Any = finder.catalog.graph.get(key).partitions_def
    event = finder.instance.get_latest_materialization_event(key)
    last = event.timestamp if event else None
    if definition is None:
        failed = int(last_run_failed(finder.instance, key))
        return TableState(asset, None, int(event is not None), int(event is None), failed, last)
    keys = finder.partitions(asset)
    there = finder.there(asset, keys)
    missing = finder.missing(asset, keys, there)
    failed = finder.failed(asset, keys)
    published = sorted(there)
    newest = published[-1] if published else ""
    cursor = _cursor(finder, asset)
    return TableState(asset, len(keys), len(published), len(missing), len(failed), last, newest, cursor)


def _cursor(finder: Finder, asset: str) -> str:
    """Where an incremental table of a database stands; empty for others."""
    from asgard_assets.ingest.sql.source import Incremental
    from asgard_assets.ingest.sql.state import read_cursor

    source, name = finder.catalog.database_of(asset), asset.partition("/")[2]
    if source is None or not isinstance(source.named(name).load, Incremental):
        return ""
    return read_cursor(finder.lake, name).value or ""
