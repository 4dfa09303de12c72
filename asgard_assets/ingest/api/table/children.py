"""Tables of nested lists: each element of a list in an item, or in a row's answer, becomes a row of its own.

They are made from what is staged for the parent table, whole days of it, and published right before it. So a child
table holds just what its parent's days hold: a run that is killed or repeated makes the same rows again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import SourceError, Terminal
from asgard_assets.ingest.api.http.decoding import Undecodable, read_json
from asgard_assets.ingest.api.lists.content import key_value
from asgard_assets.ingest.api.lists.items import named
from asgard_assets.ingest.api.lists.pagination import MalformedPage
from asgard_assets.ingest.api.source.forms import KeyType, PullForm, column_of
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.paths import at, has
from asgard_assets.ingest.api.source.sink import Child
from asgard_assets.ingest.api.values import exact
from asgard_assets.lake import DS, Lake, Staging
from asgard_assets.lake.sql import arrow_type
from asgard_assets.quality.tables import Check, Column, TableSpec

if TYPE_CHECKING:
    pass

PARENT = "parent_"
_PLACE: dict[str, KeyType] = {"item_index": "integer"}
_ROWS, _BYTES, _BATCH = 5_000, 8 << 20, 500


class NoList(Terminal, SourceError):
    """What stands at a child table's path is no list."""


@dataclass(frozen=True)
class Branch:
    """A child table with the columns that name its parent."""

    child: Child
    parent: Mapping[str, KeyType]

    @property
    def own(self) -> dict[str, KeyType]:
        return {column_of(path): kind for path, kind in self.child.key.items()}

    @property
    def below(self) -> list[Branch]:
        named: dict[str, KeyType] = {**self.parent, **(self.own or _PLACE)}
        parent: dict[str, KeyType] = {f"{PARENT}{name}": kind for name, kind in named.items()}
        return [Branch(child, parent) for child in self.child.children]


def branches(source: ApiSource) -> list[Branch]:
    """The child tables of a source, parents before their children."""
    form = source.form
    keys: dict[str, KeyType] = dict(form.rows.key) if form.rows else {}
    if isinstance(form, PullForm):
        keys |= {column_of(path): kind for path, kind in form.key.items()}
    parent: dict[str, KeyType] = {f"{PARENT}{name}": kind for name, kind in keys.items()}

    def all_of(some: Sequence[Branch]) -> list[Branch]:
        return [found for branch in some for found in (branch, *all_of(branch.below))]

    return all_of([Branch(child, parent) for child in source.sink.children])


def child_spec(source: ApiSource, branch: Branch) -> TableSpec:
    """The child table's contract."""
    child, quality = branch.child, source.quality
    stage, name = child.table.split("/")
    keys = ", ".join(f'"{key}"' for key in (*branch.parent, *branch.own))
    unique = Check(
        name="item_keys_are_unique",
        sql=f"count(*) = count(distinct ({keys})) filter ("
        f"{' and '.join(f'{key} is not null' for key in keys.split(', '))})",
        aggregate=True,
        description="Every element has its key, and no key comes twice in its parent.",
    )
    return TableSpec(
        stage=stage,
        name=name,
        description=child.description or f"The list `{child.path}` of each row of {source.sink.table}.",
        key=("request_id", "row_key", "item_index"),
        columns=_columns(branch),
        checks=(*([unique] if branch.own else []), *child.checks),
        owners=quality.owners,
        tags=quality.tags,
        kinds=quality.kinds,
        fresh_hours=quality.fresh_hours,
        every=source.every,
        time_zone=source.time_zone,
    )


def _columns(branch: Branch) -> dict[str, Column]:
    return {
        "request_id": Column(type="string", description="Request whose answer has the parent."),
        "row_key": Column(type="string", description="Keys of the parent and of the element, as JSON."),
        **{name: Column(type=kind, description="Key of the parent.") for name, kind in branch.parent.items()},
        **{name: Column(type=kind, description="Key of the element.") for name, kind in branch.own.items()},
        "item_index": Column(type="integer", description="Place in its parent's list."),
        "payload": Column(type="string", description="The element, as JSON."),
        DS: Column(type="string", description="The day that was asked for."),
    }


@dataclass
class StagedChild:
    """Rows of one child table that nobody sees yet, by day, and why days cannot be published."""

    branch: Branch
    spec: TableSpec
    staging: Staging
    rows: dict[str, int]
    failed: dict[str, str] = field(default_factory=dict)
    found: bool = False  # the path was in some parent

    @property
    def note(self) -> str:
        """What a reader should know of a table to which nothing came."""
        return (
            ""
            if self.found
            else f"{self.spec.stage}/{self.spec.name}: `{self.branch.child.path}` was in no item; is the path right?"
        )


def stage_children(
    lake: Lake, source: ApiSource, staging: Staging, seen: Mapping[str, Mapping[str, int]]
) -> list[StagedChild]:
    """Stage the rows of all child tables, from what is staged for the parent. `seen`: each table's transaction
    numbers when the run began.
    """
    import pyarrow as pa

    made = {}
    for branch in branches(source):
        spec = child_spec(source, branch)
        schema = pa.schema([(name, arrow_type(column.type)) for name, column in spec.columns.items()])
        numbers, properties = seen[branch.child.table], source.sink.properties
        place = lake.stage(spec.stage, spec.name, schema, staging.days, numbers, properties)
        made[branch.child.table] = StagedChild(branch, spec, place, dict.fromkeys(staging.days, 0))
    top = [one.branch for one in made.values() if one.branch.child in source.sink.children]
    for day, files in lake.staged_files(staging).items():
        waiting = _Waiting(lake, made, day)
        for parent in _parents(lake, source, files):
            for branch in top:
                try:
                    for found, row in _rows_of(branch, parent.value, parent.keys, made):
                        waiting.add(found.child.table, row | {"request_id": parent.request_id, DS: day})
                except NoList as error:
                    made[branch.child.table].failed.setdefault(day, error.message)
        waiting.write()
    return list(made.values())


@dataclass
class _Waiting:
    """Rows of one day on their way to files."""

    lake: Lake
    made: Mapping[str, StagedChild]
    day: str
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    count: int = 0
    bytes: int = 0

    def add(self, table: str, row: dict[str, Any]) -> None:
        self.rows.setdefault(table, []).append(row)
        self.count += 1
        self.bytes += len(row["payload"])
        if self.count >= _ROWS or self.bytes >= _BYTES:
            self.write()

    def write(self) -> None:
        import pyarrow as pa

        for table, rows in self.rows.items():
            staging = self.made[table].staging
            self.lake.write(staging, pa.Table.from_pylist(rows, schema=staging.schema))
            self.made[table].rows[self.day] += len(rows)
        self.rows, self.count, self.bytes = {}, 0, 0


@dataclass(frozen=True)
class _Parent:
    request_id: str
    keys: Mapping[str, Any]
    value: Any


def _parents(lake: Lake, source: ApiSource, files: Sequence[str]) -> Iterator[_Parent]:
    """The staged rows of a day that are successes, with what they hold."""
    import pyarrow.parquet as pq

    form, payload = source.form, source.sink.payload
    keys = tuple(form.rows.key) if form.rows else ()
    column = "body"
    if isinstance(form, PullForm):
        keys, column = form.key_columns, "payload"
    typed = column == "payload" and payload is not None and payload.type == "struct"
    for path in files:
        with pq.ParquetFile(path, filesystem=lake.filesystem) as file:
            names = [
                name for name in ("request_id", "success", *keys, column) if name in file.schema_arrow.names
            ]
            for batch in file.iter_batches(_BATCH, columns=names):
                for row in batch.to_pylist():
                    told = row.get(column)
                    if not row["success"] or told is None:
                        continue
                    value = told if typed else _read(told)
                    yield _Parent(row["request_id"], {f"{PARENT}{name}": row[name] for name in keys}, value)


def _read(text: str) -> Any:
    try:
        return read_json(text)
    except Undecodable:
        return text  # such as HTML: no list stands in it


def _rows_of(
    branch: Branch, value: Any, parent: Mapping[str, Any], made: Mapping[str, StagedChild]
) -> Iterator[tuple[Branch, dict[str, Any]]]:
    """The rows of a branch and of those below it that one parent has."""
    child = branch.child
    where = exact.dumps({name.removeprefix(PARENT): told for name, told in parent.items()}).decode()
    made[child.table].found |= has(value, child.path)
    for index, item in enumerate(elements(child, value, where)):
        keys = {column_of(path): key_value(kind, at(item, path)) for path, kind in child.key.items()}
        named = dict(parent) | (keys or {"item_index": index})
        yield (
            branch,
            dict(parent)
            | keys
            | {
                "row_key": exact.dumps(named).decode(),
                "item_index": index,
                "payload": exact.dumps(item).decode(),
            },
        )
        below = {f"{PARENT}{name}": told for name, told in named.items()}
        for inner in branch.below:
            yield from _rows_of(inner, item, below, made)


def elements(child: Child, value: Any, where: str) -> list[Any]:
    """The elements of the list at the child's path; none where null or nothing stands there.

    An object is a list of one: many converters from XML write it so. Raises NoList for anything else, and where a
    list lies on the way.
    """
    import orjson

    found = at(value, child.path)
    if found is None:
        parts = child.path.split(".")
        for end in range(1, len(parts)):
            if isinstance(at(value, ".".join(parts[:end])), list):
                inside = ".".join(parts[:end])
                raise NoList(
                    f"{child.table}: `{inside}` of {where} is a list itself; make it a child table, and "
                    f"`{'.'.join(parts[end:])}` one of its children"
                )
        return []
    if isinstance(found, str) and found[:1] in ("[", "{"):
        try:
            found = read_json(found)  # a typed column of type json
        except (Undecodable, orjson.JSONDecodeError):
            found = at(value, child.path)
    if isinstance(found, Mapping):
        if child.map_key is None:
            return [found] if found else []
        try:
            return named(found, child.map_key)
        except MalformedPage as error:
            raise NoList(f"{child.table}: `{child.path}` of {where}: {error}") from error
    if isinstance(found, list) and child.map_key is None:
        return found
    raise NoList(
        f"{child.table}: `{child.path}` of {where} is {_shown(found)}, and no {'object' if child.map_key else 'list'}"
    )


def _shown(value: Any) -> str:
    return "a list" if isinstance(value, list) else exact.dumps(value).decode()[:60]
