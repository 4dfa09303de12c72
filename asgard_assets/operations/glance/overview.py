"""The whole platform at a glance: stages, runs, and what needs a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from asgard_assets.settings import Settings
from asgard_assets.telemetry.facts import Facts, TableFact

Health = Literal["healthy", "late", "empty"]
_LATE_HOURS = 26
"""A stage none of whose tables changed for longer is shown as late: so long a daily table is fresh."""


@dataclass(frozen=True)
class Stage:
    """One of the five stages. `newest`: when one of its tables changed last, ISO 8601; of features and models some names."""

    name: str
    what: str
    health: Health
    tables: int
    rows: int
    bytes: int
    newest: str


@dataclass(frozen=True)
class Overview:
    """`runs` by state; `cost` of the runs that history knows; `unread`: parts that could not be read, and why."""

    stages: tuple[Stage, ...]
    runs: Mapping[str, int]
    cost: float
    unread: Mapping[str, str]


def overview(facts: Facts, views: Sequence[str], models: Sequence[str], settings: Settings, sees: Callable[[str], bool], now: float) -> Overview:  # fmt: skip
    """Of the tables that `sees` allows, named stage/table; of `views` and `models` by name."""
    tables = [one for one in facts.tables if sees(one.table)]
    stages = [
        _stage(name, [t for t in tables if t.table.startswith(f"{name}/")], now)
        for name in ("bronze", "silver", "gold")
    ]
    runs = dict[str, int]()
    for run in facts.runs:
        runs[run.state] = runs.get(run.state, 0) + 1
    seconds = sum(one.seconds for one in facts.made if sees(one.asset))
    cost = seconds / 3600 * settings.dbu_per_hour * settings.cost_per_dbu_hour
    others = [_named("features", "feature views", views), _named("models", "models", models)]
    return Overview((*stages, *others), runs, cost, facts.unread)


def _stage(name: str, tables: Sequence[TableFact], now: float) -> Stage:
    newest = max((one.published_at for one in tables if one.published_at), default=None)
    late = newest is not None and now - newest > _LATE_HOURS * 3600
    health: Health = "empty" if not tables else "late" if late else "healthy"
    return Stage(
        name.capitalize(), "tables", health, len(tables), sum(one.rows for one in tables), sum(one.bytes for one in tables),
        "" if newest is None else datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds"),
    )  # fmt: skip


def _named(name: str, what: str, found: Sequence[str]) -> Stage:
    return Stage(
        name.capitalize(), what, "healthy" if found else "empty", len(found), 0, 0, ", ".join(found[:3])
    )
