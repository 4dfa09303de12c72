"""The ingestions of a lake: made, changed, deleted, paused and listed. Each change is a revision that stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import yaml

from asgard_assets.components.platform.definitions import (
    ManagedDefinition,
    component_of,
    definitions_in,
    refuse_other_tables,
    tables_of,
)
from asgard_assets.errors import ConflictError, NotFoundError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.plan import control
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.operations.autoloader.wanted import WantedIngestion, definition_of
from asgard_assets.revisions import Numbered

_KNOWN_SECONDS = 2.0
Sees = Callable[[str], bool]
"""Whether the caller may see a workspace."""


@dataclass(frozen=True)
class IngestionInfo:
    """An ingestion as the API tells of it. `definition`: the YAML that a `defs.yaml` would hold. Times are ISO 8601."""

    id: str
    name: str
    type: str
    workspace_name: str
    status: Literal["active", "paused"]
    paused: str
    tables: tuple[str, ...]
    source: dict[str, Any]
    schedule: dict[str, Any]
    cluster: str
    revision: int
    created_at: str
    created_by: str
    definition: str


@dataclass(frozen=True)
class Page:
    """Some ingestions, by name. `as_of`: when they were listed; `next_cursor`: empty at the end."""

    ingestions: tuple[IngestionInfo, ...]
    total: int
    next_cursor: str
    as_of: str


@dataclass
class Ingestions:
    """Safe for several processes on one lake: what others changed is seen two seconds later."""

    lake: Lake
    landing: Landing
    changed: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.time
    _listed: tuple[float, dict[str, int]] = (-_KNOWN_SECONDS, {})
    _documents: dict[tuple[str, int], Numbered[ManagedDefinition]] = field(default_factory=dict)
    _tables: dict[tuple[str, int], tuple[str, ...]] = field(default_factory=dict)

    def create(self, wanted: WantedIngestion) -> IngestionInfo:
        """Raises ConfigError where a field is wrong, ConflictError where the name or its table is taken."""
        made = definition_of(wanted, self.clock(), self.landing)
        refuse_other_tables(made)
        kept = definitions_in(self.lake)
        known = kept.find(made.name)
        if known is not None and (not known.document.deleted or known.document.workspace != made.workspace):
            raise ConflictError(f"the ingestion {made.name} is there already; choose another name")
        self._refuse_others(made)
        if known is None:
            self._refuse_there(made)
        saved = kept.save(made, expected=known.number if known else 0)
        self._forget()
        return self._info(saved)

    def change(self, wanted: WantedIngestion, expected: int | None = None) -> IngestionInfo:
        """A new revision. Raises NotFoundError, ConfigError, and ChangedError where the newest is not `expected`."""
        known = self.find(wanted.name, lambda workspace: workspace == wanted.workspace)
        made = definition_of(wanted, known.document.created, self.landing)
        refuse_other_tables(made)
        if made.kind != known.document.kind:
            raise ConflictError(
                f"{made.name} reads {known.document.kind}; make another ingestion to read {made.kind}"
            )
        self._refuse_others(made)
        saved = definitions_in(self.lake).save(made, expected=expected)
        self._forget()
        return self._info(saved)

    def save(self, document: ManagedDefinition, expected: int | None = None) -> IngestionInfo:
        """Another revision of a definition, as it is. Raises ConfigError where no component can be made of it."""
        component_of(document)
        saved = definitions_in(self.lake).save(document, expected=expected)
        self._forget()
        return self._info(saved)

    def remove(self, name: str, sees: Sees, account: str = "", expected: int | None = None) -> None:
        """Its runs end with the next reload of the code location; its table stays. Raises NotFoundError."""
        known = self.find(name, sees)
        gone = known.document.model_copy(update={"deleted": True, "owner": account})
        definitions_in(self.lake).save(gone, expected=known.number if expected is None else expected)
        control.resume(self.lake, name)
        self._forget()

    def pause(self, name: str, sees: Sees, reason: str = "", by: str = "") -> IngestionInfo:
        """No more runs are started by themselves. Pausing twice keeps the first time and reason. Raises NotFoundError."""
        found = self.find(name, sees)
        control.pause(self.lake, name, reason, by)
        return self._info(found)

    def resume(self, name: str, sees: Sees) -> IngestionInfo:
        """Waiting files are picked up at the next tick. Raises NotFoundError."""
        found = self.find(name, sees)
        control.resume(self.lake, name)
        return self._info(found)

    def get(self, name: str, sees: Sees) -> IngestionInfo:
        """Raises NotFoundError."""
        return self._info(self.find(name, sees))

    def page(self, sees: Sees, limit: int = 50, after: str = "", workspace: str = "") -> Page:
        """The ingestions behind a name. What is listed is two seconds old at most."""
        listed_at, numbers = self._numbers()
        seen = [
            found
            for name, number in numbers.items()
            if not (found := self._document(name, number)).document.deleted
            and sees(found.document.workspace)
            and workspace in ("", found.document.workspace)
        ]
        rest = [one for one in seen if one.document.name > after]
        shown = tuple(self._info(one) for one in rest[:limit])
        cursor = shown[-1].name if len(rest) > limit else ""
        return Page(shown, len(seen), cursor, _time(listed_at))

    def find(self, name: str, sees: Sees) -> Numbered[ManagedDefinition]:
        """The newest revision. Raises NotFoundError where there is none that the caller may see."""
        found = definitions_in(self.lake).find(name)
        if found is None or found.document.deleted or not sees(found.document.workspace):
            raise NotFoundError(f"there is no ingestion {name[:70]}; see GET /api/v1/ingestions")
        return found

    def tables(self, found: Numbered[ManagedDefinition]) -> tuple[str, ...]:
        """The Bronze tables that it makes, as stage/name."""
        key = (found.document.name, found.number)
        if key not in self._tables:
            one = found.document
            direct = (f"bronze/{one.name}",) if one.kind in ("files", "stream") else ()
            self._tables[key] = direct or tuple(tables_of(one))
        return self._tables[key]

    def file_source(self, found: Numbered[ManagedDefinition]) -> FileSource | None:
        """The source of files that it is; None where it reads something else."""
        return component_of(found.document).source if found.document.kind == "files" else None

    def planned(self, wanted: WantedIngestion) -> ManagedDefinition:
        """The definition, to be tried: it need not be made. Raises ConfigError, ConflictError where its name or a table is another's."""
        made = definition_of(wanted, self.clock(), self.landing)
        refuse_other_tables(made)
        known = definitions_in(self.lake).find(made.name)
        if known is not None and known.document.workspace != made.workspace:
            raise ConflictError(f"the ingestion {made.name} is there already; choose another name")
        self._refuse_others(made)
        return made

    def _refuse_there(self, made: ManagedDefinition) -> None:
        """Raises ConflictError where one of its tables is there already."""
        for table in sorted(tables_of(made)):
            if self.lake.version(*_split(table)) >= 0:
                raise ConflictError(f"{table} is there already; choose another name")

    def _refuse_others(self, made: ManagedDefinition) -> None:
        """Raises ConflictError where one of its tables is another ingestion's, or was before that was deleted."""
        wanted = set(tables_of(made))
        for name, number in definitions_in(self.lake).numbers().items():
            if name == made.name or not any(f"{table}_".startswith(f"bronze/{name}_") for table in wanted):
                continue  # tables bear the names of their ingestions
            if taken := sorted(wanted & set(self.tables(self._document(name, number)))):
                raise ConflictError(f"{taken[0]} is there already; choose another name")

    def _numbers(self) -> tuple[float, dict[str, int]]:
        now = self.clock()
        if not 0 <= now - self._listed[0] < _KNOWN_SECONDS:
            self._listed = (now, dict(sorted(definitions_in(self.lake).numbers().items())))
        return self._listed

    def _document(self, name: str, number: int) -> Numbered[ManagedDefinition]:
        """A revision never changes: it is read once."""
        if (name, number) not in self._documents:
            self._documents[name, number] = definitions_in(self.lake).load(name, number)
        return self._documents[name, number]

    def _forget(self) -> None:
        self._listed = (-_KNOWN_SECONDS, {})
        self.changed()

    def _info(self, found: Numbered[ManagedDefinition]) -> IngestionInfo:
        one = found.document
        pause = control.read_control(self.lake, one.name).pause
        pull = one.attributes.get("pull")
        cron = pull.get("cron") if isinstance(pull, dict) else None
        return IngestionInfo(
            id=one.name,
            name=one.name,
            type=one.kind,
            workspace_name=one.workspace,
            status="paused" if pause else "active",
            paused=str(pause or ""),
            tables=tuple(table.replace("/", ".") for table in self.tables(found)),
            source=dict(one.attributes),
            schedule={"mode": "scheduled", "cron": cron} if cron else {"mode": "continuous"},
            cluster=one.cluster,
            revision=found.number,
            created_at=_time(one.created),
            created_by=one.owner,
            definition=as_yaml(one),
        )


def as_yaml(one: ManagedDefinition) -> str:
    """What a `defs.yaml` holds of it."""
    return yaml.safe_dump(
        {"type": one.type, "attributes": one.attributes}, sort_keys=False, allow_unicode=True
    )


def _split(table: str) -> tuple[str, str]:
    stage, _, name = table.partition("/")
    return stage, name


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
