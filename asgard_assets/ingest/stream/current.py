"""The rows of a database as they are now, from the log of their changes.

Of each row the newest change counts, by its place in the database's own log (LSN). A truncation ends all rows before it. A
whole snapshot ends the rows that it did not see: they were deleted while nobody listened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from asgard_assets.errors import LakeError
from asgard_assets.lake import Lake, Staging
from asgard_assets.lake.sql import arrow_type, identifier, quoted
from asgard_assets.quality.tables import Check, Column, Model, TableSpec

if TYPE_CHECKING:
    import pyarrow as pa

_PIECE_ROWS = 50_000
_BROKEN = "broken_values"
_CHANGES = """
with changes as (
  select external_id, kafka_offset, payload::json as change, change->>'op' as op,
    (change->'source'->>'lsn')::bigint as lsn, change->'source'->>'snapshot' as snapshot
  from {table} where payload is not null
), ends as (
  select greatest(
    coalesce(max(lsn) filter (where op = 't'), -1),
    coalesce(max(lsn) filter (where op = 'r' and snapshot in ('last', 'last_in_data_collection')), 0) - 1
  ) as lsn from changes
), newest as (
  select * from changes where op not in ('t', 'm') and coalesce(lsn, 0) > (select lsn from ends)
  qualify row_number() over (partition by external_id order by lsn desc nulls last, kafka_offset desc) = 1
)
select {columns} from newest where op <> 'd'
"""


class CurrentState(Model):
    """A table of the rows that a database has now, made from the changes that a stream has brought."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the table in Silver.")
    table: str = Field(
        pattern=r"^bronze/[a-z][a-z0-9_]*$",
        description="Table of a stream with `changes: debezium`, such as bronze/order_changes.",
    )
    key: tuple[str, ...] = Field(
        min_length=1, description="Columns that name a row: the database's primary key."
    )
    columns: dict[str, str] = Field(
        min_length=1, description="Columns and their types, such as `{id: bigint, name: string}`."
    )
    description: str = Field(description="What one row is, for the catalog.")
    checks: tuple[Check, ...] = Field(
        default=(), description="Conditions on the rows; an error keeps the table as it was."
    )
    owners: tuple[str, ...] = Field(
        default=(), description="Owners: team:billing or an e-mail address. Default: ASGARD_OWNER."
    )

    @field_validator("columns")
    @classmethod
    def _types_are_known(cls, columns: dict[str, str]) -> dict[str, str]:
        for kind in columns.values():
            arrow_type(kind)
        return columns

    @property
    def spec(self) -> TableSpec:
        return TableSpec(
            stage="silver",
            name=self.name,
            description=self.description,
            key=self.key,
            columns={
                **{name: Column(type=kind) for name, kind in self.columns.items()},
                _BROKEN: Column(
                    type="string",
                    description="Values that do not fit their column, as JSON; null where all fit.",
                ),
            },
            checks=(
                *self.checks,
                Check(
                    name="values_fit_their_columns",
                    sql=f"{_BROKEN} is null",
                    severity="warn",
                    description="A value that does not fit is null, and kept in broken_values.",
                ),
            ),
            owners=self.owners,
            kinds=("delta", "duckdb"),
        )


def stage_current(lake: Lake, state: CurrentState) -> Staging:
    """Stage the whole table as the log says that it is now. Raises LakeError where there is no log yet."""
    import pyarrow as pa

    stage, name = state.table.split("/")
    if lake.table(stage, name) is None:
        raise LakeError(f"silver/{state.name}: there is no table {state.table} yet", table=state.table)
    schema = _schema(state.spec.columns)
    staging = lake.stage("silver", state.name, schema, [], whole=True)
    with lake.connect(tables=[state.table]) as connection:
        rows = connection.execute(
            _CHANGES.format(table=f"{identifier(stage)}.{identifier(name)}", columns=_selected(state))
        )
        empty = True
        for batch in rows.to_arrow_reader(_PIECE_ROWS):
            lake.write(staging, pa.Table.from_batches([batch]).cast(schema))
            empty = False
        if empty:
            lake.write(staging, schema.empty_table())
    return staging


def _selected(state: CurrentState) -> str:
    """Each column by its type, and what does not fit."""
    found, broken = list[str](), list[str]()
    for name, kind in state.columns.items():
        text = f"(change->'after'->>{quoted(name)})"
        value = f"try_cast({text} as {_duck(kind)})"
        found.append(f"{value} as {identifier(name)}")
        broken.append(f"{quoted(name)}: case when {value} is null then {text} end")
    told = f"to_json(map_from_entries(list_filter(map_entries(map {{{', '.join(broken)}}}), one -> one.value is not null)))"
    return ", ".join([*found, f"nullif({told}::varchar, '{{}}') as {_BROKEN}"])


def _duck(kind: str) -> str:
    return {"string": "varchar", "int": "integer", "timestamp": "timestamptz", "binary": "blob"}.get(
        kind, kind
    )


def _schema(columns: Mapping[str, Column]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, arrow_type(column.type)) for name, column in columns.items()])
