"""What is to be run: new files, partitions that are missing, failed, or asked for by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from asgard_assets.components.api import Ask
from asgard_assets.components.files import Load
from asgard_assets.components.following.reads import table_of
from asgard_assets.components.following.staleness import Watch
from asgard_assets.components.partitions import keys_of, time_of
from asgard_assets.components.sql import Read, current_window
from asgard_assets.ingest.api.plan.calendar import outstanding_windows
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.plan.listing import file_states
from asgard_assets.ingest.files.plan.quarantine import quarantined
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.ingest.sql.source import SqlSource, Windows
from asgard_assets.lake import Lake
from asgard_assets.lake.sql import identifier
from asgard_assets.operations.partitions import Span
from asgard_assets.operations.sources import Catalog
from asgard_assets.settings import Settings
from asgard_assets.windows import window_of

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True)
class Amount:
    """What a partition has to load: files and their bytes, or records that failed."""

    files: int = 0
    bytes: int = 0
    records: int = 0


@dataclass(frozen=True)
class Todo:
    """Partitions of one asset that are to be run, with what is known of them. `partitions` is None where the asset
    has none, and is to be run as a whole."""

    asset: str
    partitions: Mapping[str, Amount] | None
    notes: tuple[str, ...] = ()
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])


@dataclass(frozen=True)
class Finder:
    """Looks into landing folders, tables and Dagster's history for what is to be run."""

    catalog: Catalog
    lake: Lake
    landing: Landing
    instance: dg.DagsterInstance
    tell: Callable[[str, int], None] = lambda *_: None
    """Is told what is being listed, and how many files it has so far."""
    watch: Watch = field(default_factory=lambda: Watch(math.inf), repr=False)
    """The tables of the lake that were looked at."""
    _known: dict[Any, list[str]] = field(default_factory=dict[Any, list[str]], repr=False)
    """The partitions of the calendars that were asked about."""

    @cached_property
    def specs(self) -> Mapping[dg.AssetKey, dg.AssetSpec]:
        """Every asset of the project."""
        return {spec.key: spec for spec in self.catalog.definitions.resolve_all_asset_specs()}

    def partitions(self, asset: str) -> list[str]:
        """All partitions of the asset as they are now; none of one without."""
        return self._keys(asset, None) or []

    def known(self, asset: str, keys: Sequence[str]) -> list[str]:
        """Those of the keys that are partitions of the asset now."""
        there = set(self._keys(asset, None) or ("",)) if keys else set[str]()
        return [key for key in keys if key in there]

    def listing(self, source: FileSource) -> Callable[[int], None]:
        """What a listing of the source tells its progress to."""
        return lambda files: self.tell(f"listing {source.name}", files)

    def to_run(self, asset: str, span: Span | None, everything: bool = False) -> Todo:
        """`asgard run`: new and changed files; of an API the newest partitions and the missing ones; of a table the
        missing ones. With a span, its partitions, published or not. `everything`: loaded files and published
        partitions too."""
        if source := self._files(asset):
            return self._new_files(source, span, everything)
        keys = self._keys(asset, span)
        if keys is None:
            return Todo(asset, None)
        if database := self.catalog.database_of(asset):
            return self._of_database(database, asset, keys, span, everything)
        api = self._api(asset)
        how = _api_config(api, Ask.all if everything else Ask.changed)
        if span is None and api is not None:
            keys = self._due(api, keys)
        elif span is None and not everything:
            keys = self.missing(asset, keys)
        return Todo(asset, dict.fromkeys(keys, Amount()), self._cut(asset, span, keys), how)

    def _cut(self, asset: str, span: Span | None, keys: Sequence[str]) -> tuple[str, ...]:
        """A note where a span has none of the asset's windows because it lies within one."""
        definition = self._node(asset).partitions_def
        cut = "" if keys or span is None or definition is None else span.cut(definition)
        return (cut,) if cut else ()

    def _of_database(
        self, source: SqlSource, asset: str, keys: Sequence[str], span: Span | None, everything: bool
    ) -> Todo:
        """The window that it is now, and of a table that is read by windows those that are missing."""
        name, now = asset.partition("/")[2], current_window(source)
        if span is None and not (everything and isinstance(source.named(name).load, Windows)):
            wanted = (
                set(self.missing(asset, keys)) if isinstance(source.named(name).load, Windows) else set[str]()
            )
            keys = [key for key in keys if key in wanted or window_of(key) == now]
        config = {f"sql_{name}": {"reload": (Read.all if everything else Read.changed).value}}
        return Todo(asset, dict.fromkeys(keys, Amount()), config=config)

    def to_backfill(self, asset: str, span: Span, everything: bool = False) -> Todo:
        """`asgard backfill`: of the span, files that are not loaded and partitions that are not published."""
        if everything or self._files(asset):
            return self.to_run(asset, span, everything)
        keys = self._keys(asset, span)
        if keys is None:
            return Todo(asset, {}, notes=(f"{asset} has no partitions: there is nothing to backfill",))
        return Todo(asset, dict.fromkeys(self.missing(asset, keys), Amount()), self._cut(asset, span, keys))

    def to_retry(self, asset: str, span: Span | None) -> Todo:
        """`asgard retry`: of an API, partitions with requests without a success; else those whose last run failed."""
        if api := self._api(asset):
            failed = self._failed_rows(api, "not success")
            wanted = {day: n for day, n in failed.items() if span is None or span.holds(day)}
            return Todo(asset, wanted, config=_api_config(api, Ask.failed))
        return Todo(asset, self._failed_runs(asset, span))

    def to_repair(self, asset: str, span: Span | None) -> Todo:
        """`asgard repair`: records in quarantine, requests that failed for good, rows that broke a Silver rule."""
        if source := self._files(asset):
            found = {
                day: Amount(files=len(paths), records=sum(paths.values()))
                for day, paths in quarantined(self.lake, source.name, source).items()
            }
            config = {f"files_{source.name}": {"reload": Load.quarantined.value}}
        elif api := self._api(asset):
            found, config = self._failed_rows(api, "outcome = 'permanent'"), _api_config(api, Ask.failed)
        else:
            found, config = self._rejected(asset), {}
        return Todo(
            asset, {d: n for d, n in found.items() if span is None or span.holds(window_of(d))}, config=config
        )

    def _files(self, asset: str) -> FileSource | None:
        stage, _, name = asset.partition("/")
        return self.catalog.files.get(name) if stage == "bronze" else None

    def _api(self, asset: str) -> ApiSource | None:
        return next((api for api in self.catalog.apis.values() if api.sink.table == asset), None)

    def _new_files(self, source: FileSource, span: Span | None, everything: bool) -> Todo:
        states = {"pending", "changed", "failed"} | ({"loaded"} if everything else set())
        found: dict[str, list[int]] = {}
        for state in file_states(self.lake, self.landing, source, states, self.listing(source)):  # type: ignore[arg-type]
            found.setdefault(state.ds, []).append(state.size)
        calendar = set(self._keys(f"bronze/{source.name}", None) or ())
        chosen = [d for d in sorted(found) if d in calendar and (not span or span.holds(d, source.calendar))]
        outside = sorted(found.keys() - calendar)
        notes = (f"outside the calendar, not loaded: {', '.join(outside[:5])}",) if outside else ()
        reload = Load.all if everything else Load.changed
        return Todo(
            f"bronze/{source.name}",
            {day: Amount(len(found[day]), sum(found[day])) for day in chosen},
            notes,
            {f"files_{source.name}": {"reload": reload.value}},
        )

    def _keys(self, asset: str, span: Span | None) -> list[str] | None:
        definition = self._node(asset).partitions_def
        if definition is None:
            return None
        asked = definition, span
        if asked not in self._known:
            self._known[asked] = (
                span.keys(definition, self.instance) if span else keys_of(definition, self.instance)
            )
        return self._known[asked]

    def _node(self, asset: str) -> Any:
        import dagster as dg

        return self.catalog.graph.get(dg.AssetKey.from_user_string(asset))

    def _due(self, api: ApiSource, keys: Sequence[str]) -> list[str]:
        """The newest partition, those before it for which events may still come, and the ones that are missing."""
        due = outstanding_windows(api, Settings().calendar(api.every, api.time_zone), datetime.now(UTC))
        if api.incremental:
            return [key for key in keys if window_of(key) in due.due]
        missing = set(self.missing(api.sink.table, keys))
        return [key for key in keys if due.wants(window_of(key), key not in missing)]

    def missing(self, asset: str, keys: Sequence[str], there: Collection[str] | None = None) -> list[str]:
        """Partitions that have ended, and that neither the lake nor Dagster's history has: are not `there`."""
        done, is_open = self.there(asset, keys) if there is None else there, self._open(asset)
        return [key for key in keys if key not in done and key not in is_open]

    def there(self, asset: str, keys: Sequence[str]) -> set[str]:
        """Those of the partitions that the lake or Dagster's history has."""
        spec = self.specs.get(_key(asset))
        table = asset if spec is None else table_of(spec)  # of rows that lie outside the lake, the receipts
        published = self.watch.snapshot(self.lake, table).published(keys)
        done = set(self.instance.get_materialized_partitions(_key(asset)))
        return {key for key in keys if key in done or published.get(key)}

    def _open(self, asset: str) -> set[str]:
        """The partitions whose window has not ended."""
        import dagster as dg

        definition = self._node(asset).partitions_def
        time = time_of(definition)
        if not isinstance(time, dg.TimeWindowPartitionsDefinition):
            return set()
        newest = time.get_last_partition_key()
        if newest is None or time.time_window_for_partition_key(newest).end <= datetime.now(UTC):
            return set()
        if time is definition:
            return {newest}
        return {key for key in keys_of(definition, self.instance) if window_of(key) == newest}

    def _failed_runs(self, asset: str, span: Span | None) -> Mapping[str, Amount] | None:
        definition, key = self._node(asset).partitions_def, _key(asset)
        if definition is None:
            return None if last_run_failed(self.instance, key) else {}
        keys = span.keys(definition, self.instance) if span else keys_of(definition, self.instance)
        return dict.fromkeys(self.failed(asset, keys), Amount())

    def failed(self, asset: str, keys: Collection[str]) -> list[str]:
        """Those of the partitions whose last run failed."""
        key, events = _key(asset), self.instance.event_log_storage
        # Few: those with a run that did not get to its end. Asking for the status of each of ten thousands takes seconds.
        tried = events.get_latest_asset_partition_materialization_attempts_without_materializations(key)
        if not (chosen := [each for each in keys if each in tried]):
            return []
        status = self.instance.get_status_by_partition(key, chosen, self._node(asset).partitions_def) or {}
        return [each for each in chosen if (found := status.get(each)) and found.value == "FAILED"]

    def _failed_rows(self, api: ApiSource, condition: str) -> dict[str, Amount]:
        stage, name = api.sink.stage, api.sink.name
        return self._counted(stage, name, condition)

    def _rejected(self, asset: str) -> dict[str, Amount]:
        stage, _, name = asset.partition("/")
        return self._counted("rejected", name, "true") if stage == "silver" else {}

    def _counted(self, stage: str, name: str, condition: str) -> dict[str, Amount]:
        table = self.lake.table(stage, name)
        if table is None:
            return {}
        columns = sorted(table.metadata().partition_columns, key=lambda column: column != "ds")
        key = " || '|' || ".join(map(identifier, columns))
        with self.lake.connect(tables=[f"{stage}/{name}"]) as connection:
            rows = connection.execute(
                f'select {key}, count(*) from "{stage}"."{name}" where {condition} group by 1 order by 1'
            ).fetchall()
        return {day: Amount(records=count) for day, count in rows}


def last_run_failed(instance: dg.DagsterInstance, key: dg.AssetKey) -> bool:
    """Whether the newest run of an asset without partitions ended in a failure."""
    import dagster as dg

    for record in instance.get_asset_records([key]):
        run = instance.get_run_by_id(record.asset_entry.last_run_id or "")
        return run is not None and run.status == dg.DagsterRunStatus.FAILURE
    return False


def _api_config(api: ApiSource | None, reload: Ask) -> dict[str, dict[str, Any]]:
    return {f"api_{api.name}": {"reload": reload.value}} if api else {}


def _key(asset: str) -> dg.AssetKey:
    import dagster as dg

    return dg.AssetKey.from_user_string(asset)
