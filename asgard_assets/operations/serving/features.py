"""Feature views by API: those of the project's files and those that were sent, and what the online store says now."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from asgard_assets.errors import ConfigError, ConflictError, NotFoundError
from asgard_assets.lake import Lake
from asgard_assets.ml.managed.repository import ManagedRepository
from asgard_assets.ml.managed.views import ManagedView, columns
from asgard_assets.ml.managed.views import views as sent_views
from asgard_assets.ml.repository import Repository
from asgard_assets.ml.store import Declared, configured
from asgard_assets.ml.views import FeatureViewSpec
from asgard_assets.operations.serving.online import OnlineReader
from asgard_assets.operations.transforms.submissions import Submission, Submissions, queued, run_id_of
from asgard_assets.operations.transforms.submit import workspace_of
from asgard_assets.revisions import Numbered, Revisions
from asgard_assets.settings import Settings
from asgard_assets.transforms import managed
from asgard_assets.transforms.statements import grouped_by

MASK = "***"
MOST_KEYS = 1000
_TABLE = re.compile(r"(?:iceberg\.)?(?:(bronze|silver|gold)\.)?([a-z][a-z0-9_]{0,62})")
_KNOWN_SECONDS = 2.0


@dataclass(frozen=True)
class WantedView:
    """A feature view as it was asked for. `expected`: the revision that it must have now."""

    name: str
    table: str
    stage: str = "gold"
    entities: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    timestamp_field: str = ""
    ttl_days: int | None = None
    description: str = ""
    workspace: str = "default"
    account: str = ""
    idempotency_key: str = ""
    expected: int | None = None


@dataclass(frozen=True)
class ViewInfo:
    """A feature view. `revision`: how often it was sent; 0: it is of the project's files."""

    name: str
    entities: tuple[str, ...]
    source: dict[str, str]
    features: dict[str, str]
    description: str
    workspace: str = ""
    revision: int = 0


@dataclass(frozen=True)
class SentView:
    """A view that was sent, and the run that fills the online store with it."""

    info: ViewInfo
    run_id: str


@dataclass(frozen=True)
class OnlineValues:
    """The values of now, a list for each feature, in the order of the keys. None: nothing is known."""

    entities: dict[str, list[Any]]
    features: dict[str, list[Any]]


@dataclass
class Features:
    """Views of a lake. `project` gives those of the project's files; `masked` are columns that some accounts do not see."""

    lake: Lake
    settings: Settings
    submissions: Submissions
    project: Callable[[], Mapping[str, FeatureViewSpec]]
    masked: Collection[str] = ()
    clock: Callable[[], float] = time.time
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stores: dict[str, tuple[bytes, OnlineReader]] = field(
        default_factory=dict[str, tuple[bytes, OnlineReader]]
    )
    _sent: tuple[float, list[Numbered[ManagedView]]] = (-_KNOWN_SECONDS, [])
    _own: tuple[float, Any, Mapping[str, FeatureViewSpec]] = (-_KNOWN_SECONDS, None, MappingProxyType({}))

    def list(self, sees: Callable[[str], bool]) -> list[ViewInfo]:
        """By name."""
        own = [_of_project(one) for one in self.project().values()]
        sent = [_of_api(one) for one in sent_views(self.lake).newest()]
        return sorted(
            (one for one in own + sent if not one.workspace or sees(one.workspace)), key=lambda one: one.name
        )

    def get(self, name: str, sees: Callable[[str], bool]) -> ViewInfo:
        """Raises NotFoundError."""
        found = next((one for one in self.list(sees) if one.name == name), None)
        if found is None:
            raise NotFoundError(f"there is no feature view {name[:100]!r}; see GET /feast/features")
        return found

    def add(self, wanted: WantedView) -> SentView:
        """Keep the view, and queue the run that serves it.

        Raises NotFoundError where the table is not there, ConfigError where its columns do not fit, ConflictError where
        the name is taken, or the view has another revision than the expected one.
        """
        view = self._view(wanted)
        kept = sent_views(self.lake)
        known = kept.find(view.name)
        if view.name == "online" or view.name in self.project():
            raise ConflictError(
                f"the feature view {view.name} is of the project's own files; choose another name"
            )
        if known and known.document.workspace != view.workspace:
            raise ConflictError(
                f"the feature view {view.name} belongs to another workspace; choose another name"
            )
        run_id = run_id_of(wanted.account, wanted.idempotency_key)
        if (earlier := self.submissions.get(run_id)) is not None:
            return SentView(_of_api(repeated(kept, earlier, view)), run_id)
        made = kept.save(view, wanted.expected)
        table = f"features/{view.name}"
        run = Submission(run_id, table, made.number, self.clock(), view.workspace, wanted.account)
        return SentView(_of_api(made), queued(self.submissions, run).run_id)

    def online(
        self, name: str, keys: Mapping[str, Sequence[Any]], sees: Callable[[str], bool], clear: bool = False
    ) -> OnlineValues:
        """Raises NotFoundError for an unknown view, ConfigError where the keys are not its own, ConflictError before it is served."""
        view, repository = self._served(name, sees)
        count = _counted(view, keys)
        names = list(view.features)
        with self._lock:
            store = self._store(repository)
            try:
                found = store.read(name, names, {key: keys[key] for key in view.keys})
            except Exception as error:
                if type(error).__name__ not in ("FeatureViewNotFoundException", "OperationalError"):
                    raise
                self._stores.clear()
                raise ConflictError(
                    f"the feature view {name} is not served yet: its run has not ended, or has failed. GET "
                    "/transform/RUN_ID/status says which"
                ) from error
        hidden = set() if clear else {each for each in names if each.lower() in self.masked}
        values = {each: [MASK] * count if each in hidden else found[each] for each in names}
        return OnlineValues({key: list(keys[key]) for key in view.keys}, values)

    def _served(
        self, name: str, sees: Callable[[str], bool]
    ) -> tuple[ManagedView | FeatureViewSpec, Declared]:
        now = time.monotonic()
        if now - self._own[0] > _KNOWN_SECONDS or self._own[1] is not self.project:
            self._own = (now, self.project, self.project())  # files are not read for each request
        if (own := self._own[2].get(name)) is not None:
            return own, Repository.of_project()
        if now - self._sent[0] > _KNOWN_SECONDS or name not in {one.document.name for one in self._sent[1]}:
            self._sent = (now, sent_views(self.lake).newest())
        sent = [one.document for one in self._sent[1]]
        found = next((one for one in sent if one.name == name and sees(one.workspace)), None)
        if found is None:
            raise NotFoundError(f"there is no feature view {name[:100]!r}; see GET /feast/features")
        return found, ManagedRepository(sent)

    def _store(self, repository: Declared) -> OnlineReader:
        """Feast's own store, opened again once its registry was written anew."""
        import os

        os.environ.setdefault("FEAST_USAGE", "False")
        marker = repository.kept(self.settings.home.absolute()) / "applied"
        stamp = marker.read_bytes() if marker.exists() else b""
        known = self._stores.get(str(marker))
        if known is None or known[0] != stamp:
            known = (stamp, OnlineReader(configured(self.settings, repository)))
            self._stores[str(marker)] = known
        return known[1]

    def _view(self, wanted: WantedView) -> ManagedView:
        match = _TABLE.fullmatch(wanted.table.lower())
        if match is None:
            raise ConfigError(f"source.table_name: {wanted.table[:100]!r} is no name of a table")
        stage, table = match[1] or wanted.stage, match[2]
        named = f"{stage}.{table}"
        if workspace_of(self.lake, f"{stage}/{table}") not in ("", wanted.workspace):
            raise NotFoundError(f"there is no table {named}")
        entities = wanted.entities or self._key(stage, table)
        if not entities:
            raise ConfigError(f"entities: {named} declares no key; name the columns that name one row")
        found = columns(self.lake, stage, table)
        described = found.described(named, entities, wanted.features, wanted.timestamp_field)
        return ManagedView(
            name=wanted.name, table=f"{stage}/{table}", ttl_days=wanted.ttl_days, workspace=wanted.workspace,
            owner=wanted.account, description=wanted.description, **described,
        )  # fmt: skip

    def _key(self, stage: str, table: str) -> tuple[str, ...]:
        """The table's key: as it was sent, as its SQL groups it, or as another view of the project has it."""
        for one in self.project().values():
            if one.table == f"{stage}/{table}":
                return tuple(one.keys)
        try:
            known = managed.load(self.lake, table).transform
        except ConfigError:
            return ()
        if known.stage != stage or known.write_mode == "append":
            return known.key if known.stage == stage else ()
        return known.key or grouped_by(known.steps[-1].sql, "duckdb" if known.engine == "dbt" else "spark")


def repeated(kept: Revisions[ManagedView], earlier: Submission, view: ManagedView) -> Numbered[ManagedView]:
    """What the earlier request of one idempotency key has made. Raises ConflictError where it asked for something else."""
    same = earlier.table == f"features/{view.name}"
    if not same or (found := kept.load(view.name, earlier.revision)).document != view:
        raise ConflictError("this Idempotency-Key was sent before with another request; send a new key")
    return found


def _of_project(one: FeatureViewSpec) -> ViewInfo:
    features = {name: each.type for name, each in one.features.items()}
    source = {"table_name": one.source, "schema": one.stage}
    return ViewInfo(one.name, tuple(one.keys), source, dict(features), one.description)


def _of_api(one: Numbered[ManagedView]) -> ViewInfo:
    view = one.document
    stage, table = view.place
    return ViewInfo(
        view.name, tuple(view.keys), {"table_name": table, "schema": stage}, dict(view.features), view.description,
        view.workspace, one.number,
    )  # fmt: skip


def _counted(view: ManagedView | FeatureViewSpec, keys: Mapping[str, Sequence[Any]]) -> int:
    """How many keys they are. Raises ConfigError where they are not those of the view."""
    if set(keys) != set(view.keys):
        raise ConfigError(f"entities: the feature view {view.name} is about {', '.join(view.keys)}")
    if len({len(values) for values in keys.values()}) != 1:
        raise ConfigError("entities: every column needs the same number of values")
    for name, kind in view.keys.items():
        wanted = int if kind == "bigint" else str
        if any(type(value) is not wanted for value in keys[name]):
            raise ConfigError(f"entities: {name} is {'a whole number' if wanted is int else 'text'}")
        if wanted is int and any(not -(2**63) <= value < 2**63 for value in keys[name]):
            raise ConfigError(f"entities: {name} is a whole number of 64 bits")
    count = len(next(iter(keys.values())))
    if not 1 <= count <= MOST_KEYS:
        raise ConfigError(f"entities: send 1 to {MOST_KEYS:,} keys, not {count:,}")
    return count
