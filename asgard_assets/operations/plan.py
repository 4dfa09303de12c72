"""`asgard plan`: what a run would do, before anybody commits to it. Writes nothing, starts no Spark.

Files and bytes are listed, not guessed; requests, rows, seconds and stored bytes come from what past runs took;
prices are the declared rates. What was never measured is said to be unknown, and breaks a budget that asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.files.plan.listing import scan
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.operations.history import History, history
from asgard_assets.operations.outside.schemas import schema_notes
from asgard_assets.operations.partitions import Span
from asgard_assets.operations.preview import SchemaChange, preview
from asgard_assets.operations.targets import Target
from asgard_assets.operations.todo import Finder
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True)
class AssetPlan:
    """What a run of one asset would read and cost. None: never measured. `sampled_files`: how many files were read
    to estimate rows, time and stored bytes, where no past run tells them."""

    asset: str
    unit: str
    partitions: tuple[str, ...]
    files: int | None = None
    bytes: int | None = None
    requests: int | None = None
    rows: int | None = None
    seconds: float | None = None
    stored_bytes: int | None = None
    compute_cost: float | None = None
    storage_cost_per_month: float | None = None
    measured_runs: int = 0
    error: float = 0.0
    sampled_files: int = 0
    schema: tuple[SchemaChange, ...] = ()
    notes: tuple[str, ...] = ()
    older_code: tuple[str, ...] = ()
    """Partitions that older code built; what it takes to build them again is in the notes."""


@dataclass(frozen=True)
class RunPlan:
    """All selected assets, and the partitions downstream that automation will touch after them."""

    assets: tuple[AssetPlan, ...]
    downstream: Mapping[str, tuple[str, ...]]
    cost_per_dbu_hour: float
    dbu_per_hour: float
    storage_cost_per_gb: float
    made_at: str

    def total(self, name: str) -> float | None:
        """Sum over the assets that have any of it; None where one of them is unknown."""
        values = [getattr(asset, name) for asset in self.assets]
        return None if None in values else sum(values)


@dataclass(frozen=True)
class PlanBudget:
    """What a plan may come to; None: any amount."""

    cost: float | None = None
    files: int | None = None
    bytes: int | None = None
    requests: int | None = None
    seconds: float | None = None
    partitions: int | None = field(default=None, metadata={"help": "Partitions, downstream ones included."})

    def broken(self, plan: RunPlan) -> list[str]:
        """One sentence for each limit that the plan exceeds, or of which it cannot be said."""
        told = {
            "cost": plan.total("compute_cost"),
            "files": plan.total("files"),
            "bytes": plan.total("bytes"),
            "requests": plan.total("requests"),
            "seconds": plan.total("seconds"),
            "partitions": sum(len(a.partitions) for a in plan.assets)
            + sum(map(len, plan.downstream.values())),
        }
        found = []
        for name, value in told.items():
            limit = getattr(self, name)
            if limit is None:
                continue
            if value is None:
                found.append(f"{name} is unknown: no past run of it was measured (limit {limit:g})")
            elif value > limit:
                found.append(f"{name} is {value:g}, above the limit of {limit:g}")
        return found


def make_plan(
    project: Finder, target: Target, span: Span | None = None, now: datetime | None = None
) -> RunPlan:
    """Plan `asgard run` of a target: what is new or missing, or the partitions of the span.

    Raises ConfigError for a span outside the calendar.
    """
    import dagster as dg

    settings, graph = Settings(), project.catalog.graph
    chosen = [dg.AssetKey.from_user_string(asset) for asset in target.assets]
    if span is not None:
        nodes = (graph.get(key) for key in chosen)
        span.refuse_outside([node.partitions_def for node in nodes if node.partitions_def is not None])
    plans = []
    for key in chosen:
        past = history(project.instance, key)
        source = project.catalog.files.get(key.path[-1]) if key.path[0] == "bronze" else None
        if source is not None:
            plans.append(_of_files(project, source, span, past, settings))
        else:
            plans.append(_of_table(project, key, span, past, settings))
    touched = {dg.AssetKey(plan.asset.split("/")): set(plan.partitions) for plan in plans}
    return run_plan(plans, _downstream(graph, touched), settings, now)


def run_plan(
    plans: Sequence[AssetPlan],
    downstream: Mapping[str, tuple[str, ...]],
    settings: Settings,
    now: datetime | None = None,
) -> RunPlan:
    """The plans of several assets as one, with the declared rates."""
    return RunPlan(
        tuple(plans),
        downstream,
        settings.cost_per_dbu_hour,
        settings.dbu_per_hour,
        settings.storage_cost_per_gb,
        (now or datetime.now(UTC)).isoformat(timespec="seconds"),
    )


def _of_files(
    project: Finder, source: FileSource, span: Span | None, past: History, settings: Settings
) -> AssetPlan:
    lake, landing = project.lake, project.landing
    found = scan(lake, landing, source, full=True, max_files=10_000_000, tell=project.listing(source))
    calendar = set(project.partitions(f"bronze/{source.name}"))
    todo = {
        d: fs
        for d, fs in found.todo.items()
        if d in calendar and (span is None or span.holds(d, source.calendar))
    }
    files = [file for each in todo.values() for file in each]
    size = sum(file.size for file in files)
    notes = []
    if outside := sorted(found.todo.keys() - calendar):
        notes.append(f"outside the calendar, not loaded: {', '.join(outside[:5])}")
    if found.failed:
        notes.append(f"{len(found.failed)} files are in quarantine")
    if found.undated_count:
        notes.append(f"{found.undated_count} files belong to no day")
    if found.links_out:
        notes.append(
            f"links that lead out of the landing root, not followed: {', '.join(found.links_out[:5])}"
        )
    shown = preview(lake, landing, source, files) if files else None
    if shown is not None:
        notes += [f"cannot be read: {path} ({reason})" for path, reason in shown.unreadable.items()]
    plan = AssetPlan(
        f"bronze/{source.name}", "bytes", tuple(sorted(todo)), files=len(files), bytes=size, requests=0,
        schema=shown.changes if shown else (), notes=tuple(notes),
    )  # fmt: skip
    return _measured(plan, "bronze", source.name, size, past, settings)


def _of_table(
    project: Finder, key: dg.AssetKey, span: Span | None, past: History, settings: Settings
) -> AssetPlan:
    todo = project.to_run(key.to_user_string(), span)
    partitions = todo.partitions
    chosen = tuple(partitions or ())
    amount = 1 if partitions is None else len(chosen)
    each = past.per_partition("requests")
    unit = "partitions"
    requests: int | None = 0
    if any(run.requests for run in past.runs) and each is not None:
        unit, requests = "requests", round(each * amount)
    elif key.path[0] == "bronze" and not past.runs:
        requests = None
    notes = (*todo.notes, *schema_notes(project.catalog, key.to_user_string()))
    plan = AssetPlan(key.to_user_string(), unit, chosen, files=0, bytes=0, requests=requests, notes=notes)
    plan = _measured(
        plan, key.path[0], key.path[-1], requests if unit == "requests" else amount, past, settings
    )
    return _with_older_code(project, plan, key, past, settings)


def _with_older_code(
    project: Finder, plan: AssetPlan, key: dg.AssetKey, past: History, settings: Settings
) -> AssetPlan:
    """The plan with the partitions that older code built, and what it takes to build them again."""
    from dataclasses import replace

    from asgard_assets.components.following.reads import REBUILD, table_of
    from asgard_assets.components.following.staleness import by_older_code, follows

    specs = project.specs
    if key not in specs or not follows(specs[key]) or not specs[key].code_version:
        return plan
    table = table_of(specs[key])
    found = by_older_code(specs[key], project.watch.read(project.lake, [table], datetime.now(UTC))[table])[1]
    older = tuple(project.known(key.to_user_string(), found))
    if not older:
        return plan
    again = replace(plan, partitions=older, unit="partitions")
    cost = _measured(again, key.path[0], key.path[-1], len(older), past, settings)
    time = (
        "never measured"
        if cost.seconds is None
        else f"{cost.seconds:.1f} s, {cost.compute_cost:.4f} for compute"
    )
    will = (
        "are built again by themselves"
        if REBUILD in specs[key].metadata
        else "stay as they are (rebuild: never)"
    )
    named = f"{len(older)} partitions, {older[0]} to {older[-1]}" if older[0] else "the table"
    note = f"built by older code: {named}; they {will}; building them takes {time}"
    return replace(plan, older_code=older, notes=(*plan.notes, note))


def _measured(
    plan: AssetPlan, stage: str, name: str, amount: int | None, past: History, settings: Settings
) -> AssetPlan:
    """The plan with what past runs and the declared rates say of so much work."""
    from dataclasses import replace

    if not amount:
        nothing = amount == 0
        return replace(plan, rows=0, seconds=0.0, stored_bytes=0, compute_cost=0.0, storage_cost_per_month=0.0) if nothing else plan  # fmt: skip
    estimate, per = past.estimate(plan.unit, amount), past.rows_per(plan.unit)
    rows = None if per is None else round(per * amount)
    stored = _stored(stage, name, rows)
    seconds = estimate.seconds if estimate else None
    return replace(
        plan,
        rows=rows,
        seconds=seconds,
        stored_bytes=stored,
        compute_cost=None
        if seconds is None
        else seconds / 3600 * settings.dbu_per_hour * settings.cost_per_dbu_hour,
        storage_cost_per_month=None if stored is None else stored / 1e9 * settings.storage_cost_per_gb,
        measured_runs=estimate.runs if estimate else 0,
        error=estimate.error if estimate else 0.0,
    )


def _stored(stage: str, name: str, rows: int | None) -> int | None:
    """Bytes that so many rows take in the table, as its present ones do."""
    import pyarrow as pa

    table = Lake.from_settings().table(stage, name)
    if table is None or rows is None:
        return None
    live = pa.table(table.get_add_actions(flatten=True))
    present = sum(count or 0 for count in live["num_records"].to_pylist())
    return round(sum(live["size_bytes"].to_pylist()) / present * rows) if present else None


def _downstream(graph: dg.AssetGraph, touched: Mapping[dg.AssetKey, set[str]]) -> dict[str, tuple[str, ...]]:
    """Partitions of assets below that automation will run after these, as the graph's edges say."""
    reached = {key: set(days) for key, days in touched.items()}
    found: dict[str, tuple[str, ...]] = {}
    asked: dict[Any, Any] = {}
    for key in graph.toposorted_asset_keys:
        if key in touched:
            continue
        days: set[str] = set()
        whole = False
        for parent in graph.get(key).parent_keys & reached.keys():
            if graph.get(key).partitions_def is None:
                whole = whole or bool(reached[parent])
                continue
            days |= _children(graph, reached[parent], parent, key, asked)
        if days or whole:
            reached[key] = days or {""}
            found[key.to_user_string()] = tuple(sorted(days))
    return found


def _children(
    graph: dg.AssetGraph, days: set[str], parent: dg.AssetKey, child: dg.AssetKey, asked: dict[Any, Any]
) -> set[str]:
    """Partitions of the child that read these of the parent: one question for all of them. `asked`: subsets that were made for others."""
    above, below = graph.get(parent).partitions_def, graph.get(child).partitions_def
    known = [day for day in sorted(days) if day]
    if above is None or below is None or not known:
        return set()
    if (subset := (above, tuple(known))) not in asked:
        asked[subset] = above.subset_with_partition_keys(known)
    found = graph.get_partition_mapping(child, parent).get_downstream_partitions_for_partitions(
        asked[subset], above, below
    )
    return {str(key) for key in found.get_partition_keys()}
