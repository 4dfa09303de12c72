"""What a person does to sources and tables: run, backfill, retry, repair, pause, resume, clean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError, LakeError
from asgard_assets.ingest.files.clean import Cleaned
from asgard_assets.ingest.files.clean import clean as clean_files
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.plan import control
from asgard_assets.ingest.files.plan.listing import scan
from asgard_assets.ingest.files.plan.quarantine import forget_gone, quarantined
from asgard_assets.lake import Lake
from asgard_assets.lake.maintenance import Maintained, maintain
from asgard_assets.operations import sources
from asgard_assets.operations.partitions import Span
from asgard_assets.operations.runs import Launch, Ran, launches
from asgard_assets.operations.sources import Kind, Source
from asgard_assets.operations.state import file_names
from asgard_assets.operations.targets import Target
from asgard_assets.operations.todo import Finder, Todo

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True)
class Work:
    """What a command will start: partitions of each asset, and the runs that they take, in order."""

    todos: tuple[Todo, ...]
    launches: tuple[Launch, ...]


@dataclass(frozen=True)
class Switched:
    """A source that was paused or resumed. `changed` is False where it was so already."""

    source: str
    paused: str
    changed: bool


@dataclass(frozen=True)
class Retried:
    """A file source whose failed runs start again at its sensor's next tick."""

    source: str
    attempt: int


@dataclass(frozen=True)
class CleanUp:
    """What was cleaned: landed files by source, and tables."""

    files: Mapping[str, Cleaned]
    tables: tuple[Maintained, ...]


def finder(
    instance: dg.DagsterInstance,
    tell: Callable[[str, int], None] = lambda *_: None,
    definitions: dg.Definitions | None = None,
) -> Finder:
    """The project as the settings and the current folder say. `tell` is told how far listings are."""
    found = sources.catalog(definitions or sources.load_definitions())
    return Finder(found, Lake.from_settings(), Landing.from_settings(), instance, tell)


def work_to_run(
    project: Finder, target: Target, span: Span | None, everything: bool = False, cursor: str | None = None
) -> Work:
    """`asgard run`. `cursor`: start an incremental API source here, this once. Raises ConfigError."""
    _refuse_outside(project, target, span)
    todos = [project.to_run(asset, span, everything) for asset in target.assets]
    if cursor is not None:
        todos = [_with_cursor(project, todo, cursor) for todo in todos]
    return _work(project, todos)


def work_to_load(project: Finder, source: Source, span: Span | None, everything: bool = False) -> Work:
    """The tables of an Airbyte source: what its sync has landed."""
    return _work(project, [project.to_run(table, span, everything) for table in source.tables])


def work_to_backfill(project: Finder, target: Target, span: Span, everything: bool = False) -> Work:
    """`asgard backfill`: of an Airbyte source, its tables: a sync brings no older partitions."""
    assets = _tables(target)
    _refuse_outside(project, target, span, assets)
    return _work(project, [project.to_backfill(asset, span, everything) for asset in assets])


def work_to_retry(project: Finder, target: Target, span: Span | None) -> Work:
    """`asgard retry`, but for file sources: `retry_files`."""
    _refuse_outside(project, target, span)
    files = {table for source in target.sources if source.kind is Kind.files for table in source.tables}
    return _work(project, [project.to_retry(asset, span) for asset in target.assets if asset not in files])


def retry_files(project: Finder, target: Target) -> list[Retried]:
    """Ask the sensors of file sources to start failed runs again, at their next tick."""
    names = dict.fromkeys(name for source in target.sources for name in file_names(source))
    return [Retried(name, control.retry(project.lake, name)) for name in names]


def work_to_repair(project: Finder, target: Target, span: Span | None) -> Work:
    """`asgard repair`: load again what could not be used, after its cause is fixed."""
    assets = _tables(target)
    _refuse_outside(project, target, span, assets)
    return _work(project, [project.to_repair(asset, span) for asset in assets])


def forget_removed(project: Finder, target: Target, dry_run: bool) -> list[str]:
    """Take files out of the quarantine that could not be read and are gone from the landing folder."""
    names = dict.fromkeys(name for source in target.sources for name in file_names(source))
    return [p for name in names for p in forget_gone(project.lake, project.landing, name, dry_run)]


def left_in_quarantine(project: Finder, target: Target) -> dict[str, int]:
    """Records in quarantine of each file source of the target."""
    names = dict.fromkeys(name for source in target.sources for name in file_names(source))
    found = {name: quarantined(project.lake, name) for name in names}
    return {name: sum(sum(paths.values()) for paths in by.values()) for name, by in found.items()}


def prepare(project: Finder, work: Work) -> None:
    """What a load needs to know before it starts: an ordered source looks at late and changed files too."""
    for todo in work.todos:
        source = project.catalog.files.get(todo.asset.removeprefix("bronze/"))
        if source is not None and source.ordered and todo.partitions:
            scan(project.lake, project.landing, source, full=True)


def pause(project: Finder, target: Target, reason: str, by: str) -> list[Switched]:
    """Start no more runs for new data of these sources. Raises ConfigError where the target has none."""
    found = []
    for source in _pausable(target):
        before = control.read_control(project.lake, source.name).pause
        for name in _controls(source):
            control.pause(project.lake, name, reason, by)
        now = control.read_control(project.lake, source.name).pause
        found.append(Switched(source.name, str(now), before is None))
    return found


def resume(project: Finder, target: Target) -> list[Switched]:
    """Let them start again. Raises ConfigError where the target has no source."""
    return [
        Switched(source.name, "", any([control.resume(project.lake, name) for name in _controls(source)]))
        for source in _pausable(target)
    ]


def clean(project: Finder, target: Target, dry_run: bool) -> CleanUp:
    """Move or delete loaded files of sources that set `clean`; compact the other tables, and remove what no version of
    them needs. Raises ConfigError for a file source, or several, where cleaning is off."""
    names = list(dict.fromkeys(name for source in target.sources for name in file_names(source)))
    known = [project.catalog.files[name] for name in names]
    chosen = known if len(names) == 1 else [source for source in known if source.clean is not None]
    there = {f"{stage}/{name}" for stage, name in project.lake.tables()}
    loaded = {f"bronze/{name}" for name in names}
    tables = [asset for asset in target.assets if asset in there and asset not in loaded]
    if names and not chosen and not tables:
        raise ConfigError(
            f"{target.text}: cleaning is off for all of them ({', '.join(names)}); set "
            "`clean: {action: move, after_days: 30}` in a source's defs.yaml"
        )
    files = {s.name: clean_files(project.lake, project.landing, s, dry_run) for s in chosen}
    return CleanUp(files, tuple(maintain(project.lake, tables, dry_run=dry_run) if tables else ()))


def refuse_failed(ran: Sequence[Ran]) -> None:
    """Raises LakeError that says which runs failed and why, where any did."""
    bad = [one for one in ran if not one.ok]
    if not bad:
        return
    lines = []
    for one in bad:
        title = Launch(one.assets, one.partitions).title
        lines.append(f"{title}: {'skipped, an upstream run failed' if one.skipped else 'failed'}")
        lines += [f"  {reason}" for reason in one.reasons]
    raise LakeError("\n".join(lines), table=bad[0].assets[0])


def _work(project: Finder, todos: Sequence[Todo]) -> Work:
    wanted = {
        todo.asset: None if todo.partitions is None else list(todo.partitions)
        for todo in todos
        if todo.partitions is None or todo.partitions
    }
    config = {todo.asset: todo.config for todo in todos}
    return Work(tuple(todos), tuple(launches(project.catalog.graph, wanted, config)))


def _with_cursor(project: Finder, todo: Todo, cursor: str) -> Todo:
    from dataclasses import replace

    api = next((api for api in project.catalog.apis.values() if api.sink.table == todo.asset), None)
    if api is None or api.incremental is None:
        raise ConfigError(f"--cursor is for an API source with form.incremental; {todo.asset} is none")
    op: dict[str, Any] = {**todo.config.get(f"api_{api.name}", {}), "cursor": cursor}
    return replace(todo, config={f"api_{api.name}": op})


def _refuse_outside(
    project: Finder, target: Target, span: Span | None, assets: Sequence[str] | None = None
) -> None:
    import dagster as dg

    if span is None:
        return
    graph = project.catalog.graph
    nodes = (graph.get(dg.AssetKey.from_user_string(a)) for a in (assets or target.assets))
    span.refuse_outside([node.partitions_def for node in nodes if node.partitions_def is not None])


def _tables(target: Target) -> tuple[str, ...]:
    """The target's assets, with the tables of an Airbyte source in place of its syncs."""
    source = target.source
    return source.tables if source is not None and source.kind is Kind.airbyte else target.assets


def _pausable(target: Target) -> tuple[Source, ...]:
    if not target.sources:
        raise ConfigError(
            f"{target.text} selects no source, and only sources are paused. To stop what follows from new data, stop "
            "the sensor `automation` in Dagster"
        )
    return target.sources


def _controls(source: Source) -> list[str]:
    """Whose runs stop: the source's own, and the loads of an Airbyte source's streams."""
    return list(dict.fromkeys([source.name, *file_names(source)]))
