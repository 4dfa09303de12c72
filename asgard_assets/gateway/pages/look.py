"""Pages that only show: the overview, tables, data products, models, the quarantine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from asgard_assets.errors import NotFoundError
from asgard_assets.gateway.accounts.callers import Reader
from asgard_assets.gateway.accounts.roles import EVERYWHERE, ROLES, Caller, May
from asgard_assets.gateway.autoloader.ingestions import masked_for
from asgard_assets.gateway.pages.render import ROOT, page, size
from asgard_assets.gateway.pages.who import who
from asgard_assets.gateway.platform import Here, Platform
from asgard_assets.operations.autoloader.quarantine import quarantine_of
from asgard_assets.operations.glance.overview import overview
from asgard_assets.operations.glance.table import table_view
from asgard_assets.operations.serving.predictions import ModelStatus
from asgard_assets.operations.transforms.submit import workspace_of

router = APIRouter(prefix=ROOT, include_in_schema=False)
_MOST = 500
_AS_SENT = frozenset({"raw", "record", "_rescued_data", "broken_values"})


@router.get("")
def home(request: Request, here: Here, caller: Reader) -> Response:
    """The five stages, runs, what needs a person."""
    facts = here.watch.facts()
    views = [one.name for one in here.features.list(caller.sees)]
    models = [one.name for one in here.models.status() if here.trainings.seen(one.name, caller.sees)]
    found = overview(facts, views, models, here.settings, _sees_table(here, caller), time.time())
    told = {
        "stages": found.stages,
        "runs": found.runs if EVERYWHERE in caller.workspaces else {},
        "cost": found.cost,
        "unread": found.unread,
        "alerts": _alerts(here, caller),
        "sources": here.ingestions.page(caller.sees, 1).total,
    }
    return page("home", title="Overview", here="Overview", who=who(request, here, caller), found=told)


@router.get("/tables")
def tables(request: Request, here: Here, caller: Reader) -> Response:
    """The tables that the caller may read."""
    sees = _sees_table(here, caller)
    found = [
        (f"{ROOT}/tables/{one.table}", (one.table.replace("/", "."), one.rows, size(one.bytes), one.partitions, _ago(one.published_at)))
        for one in here.watch.facts().tables
        if sees(one.table)
    ]  # fmt: skip
    return _list(request, here, caller, "Tables", "Of the lake, as last published.", ("Table", "Rows", "Size", "Partitions", "Changed"), found)  # fmt: skip


@router.get("/tables/{stage}/{name}")
def table(stage: str, name: str, request: Request, here: Here, caller: Reader) -> Response:
    """A table: sample, schema, lineage, freshness."""
    if not _sees_table(here, caller)(f"{stage}/{name}"):
        raise NotFoundError(f"there is no table {stage[:50]}.{name[:100]}")
    fact = next((one for one in here.watch.facts().tables if one.table == f"{stage}/{name}"), None)
    found = table_view(here.lake, f"{stage}/{name}", fact, _masked(here, caller))
    return page("table", title=f"{stage}.{name}", here="Tables", who=who(request, here, caller), found=found)


@router.get("/products")
def products(request: Request, here: Here, caller: Reader) -> Response:
    """The data products."""
    found = [
        (f"{ROOT}/tables/{one.table.replace('.', '/')}", (one.name, one.description, one.owner, one.updated))
        for one in here.products.list(caller.sees)
    ]
    return _list(request, here, caller, "Data products", "Gold tables that others may build on.", ("Name", "What a row is", "Owner", "Changed"), found)  # fmt: skip


@router.get("/models")
def models(request: Request, here: Here, caller: Reader) -> Response:
    """The models, with their champions: how good they were in training, and what they are asked since."""
    found = [
        (
            "",
            (
                one.name,
                one.champion or "none",
                ", ".join(map(str, one.versions)),
                _measured(one),
                *_asked(one),
            ),
        )
        for one in here.models.status()
        if here.trainings.seen(one.name, caller.sees)
    ]
    about = "The champion answers predictions. Drift is how far its inputs are from the training set: above 0.25 they have shifted."
    names = ("Name", "Champion", "Versions", "Metrics of its training", "Rows asked", "Drift")
    return _list(request, here, caller, "Models", about, names, found)


def _measured(one: ModelStatus) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in one.metrics.items())


def _asked(one: ModelStatus) -> tuple[int, str]:
    """(rows, drift by input, the largest first)"""
    if one.served is None:
        return 0, ""
    ordered = sorted(one.served.drift.items(), key=lambda each: -each[1])
    drift = ", ".join(
        f"{name} {value:.2f}{' (shifted)' if name in one.served.drifted else ''}" for name, value in ordered
    )
    return one.served.rows, drift or "too few rows"


@router.get("/quarantine")
def quarantine(request: Request, here: Here, caller: Reader) -> Response:
    """Sources with files or records that could not be loaded."""
    found = [
        (f"{ROOT}/sources/{name}#quarantine", (name, count)) for name, count in _quarantined(here, caller)
    ]
    about = "Files and records that could not be loaded. Open a source to see why, and to load them again."
    return _list(request, here, caller, "Quarantine", about, ("Source", "Records and files"), found)


def _list(
    request: Request, here: Platform, caller: Caller, title: str, about: str, names: tuple[str, ...], found: list[Any]
) -> Response:  # fmt: skip
    told = {"title": title, "here": title, "about": about, "names": names, "found": found[:_MOST]}
    return page("list", who=who(request, here, caller), **told)


def _sees_table(here: Platform, caller: Caller) -> Callable[[str], bool]:
    """Which tables the caller may read: those of the project's files, and of the workspaces that it belongs to."""
    if EVERYWHERE in caller.workspaces:
        return lambda _: True

    def sees(name: str) -> bool:
        stage, _, plain = name.partition("/")
        kept = stage in ("quarantine", "rejected")
        workspace = workspace_of(
            here.lake, f"{'bronze' if stage == 'quarantine' else 'silver'}/{plain}" if kept else name
        )
        return caller.sees(workspace) if workspace else not kept

    return sees


def _masked(here: Platform, caller: Caller) -> frozenset[str]:
    """Columns that the caller does not see: those of the settings, and records as they were sent, which may hold anything."""
    return masked_for(here, caller) | (frozenset() if May.edit in ROLES[caller.role] else _AS_SENT)


def _quarantined(here: Platform, caller: Caller) -> list[tuple[str, int]]:
    there = {name for stage, name in here.lake.tables() if stage == "quarantine"}
    known = here.ingestions.page(caller.sees, _MOST).ingestions
    counted = [(one.name, quarantine_of(here.lake, one.name, 1).total) for one in known if one.name in there]
    return [(name, count) for name, count in counted if count]


def _alerts(here: Platform, caller: Caller) -> list[tuple[str, str]]:
    """What needs a person, each with where to look."""
    known = here.ingestions.page(caller.sees, _MOST).ingestions
    found = [(f"{one.name} is {one.paused}", f"{ROOT}/sources/{one.id}") for one in known if one.paused]
    found += [
        (f"{name}: {count} records or files in quarantine", f"{ROOT}/sources/{name}#quarantine")
        for name, count in _quarantined(here, caller)
    ]
    for one in here.submissions.all()[:50]:
        outcome = here.submissions.outcome(one.run_id) if one.source and caller.sees(one.workspace) else None
        if outcome is not None and not outcome.ok:
            reason = outcome.reasons[0][:200] if outcome.reasons else "its run failed"
            found.append((f"{one.source}: {reason}", f"{ROOT}/sources/{one.source}/runs/{one.run_id}"))
    return found[:20]


def _ago(seconds: float | None) -> str:
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
