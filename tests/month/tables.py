"""The tables of the month: what each reads and makes, once for the real engines and once for the plain model."""

# No `from __future__ import annotations`: Dagster wants the type of `context`, not its name.
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from asgard_assets.components.automation import LOOKBACK, looking_back, on_upstream_change
from asgard_assets.components.failures import clear_failures
from asgard_assets.components.file_sensor import file_sensor
from asgard_assets.components.files import file_asset
from asgard_assets.components.following.reads import BEFORE, READS, SAME, opened
from asgard_assets.components.following.sensor import following
from asgard_assets.components.following.zones import between_zones
from asgard_assets.components.partitions import windows
from asgard_assets.components.tables import days_of, publish, table_asset
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.quality.tables import Column, TableSpec
from asgard_assets.resources.environment import resources
from asgard_assets.resources.lake import LakeResource
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar, zone_named

Rows = Collection[tuple[int, int]]
"""Pairs of id and amount."""
Look = Callable[[str, str, str], Mapping[str, Rows]]
"""The rows of a table by partition, from a first to a last key."""
SCHEMA = pa.schema([("id", pa.int64()), ("amount", pa.int64()), ("ds", pa.string())])


@dataclass(frozen=True)
class Made:
    """A table that is made of others. `reads`: of each how many days before its own, None where it is of hours."""

    address: str
    reads: Mapping[str, int]
    value: Callable[[Look, str], Rows]
    chain: bool = False
    """It reads its own day before, too."""
    code: str = "1"
    engine: Literal["python", "spark", "dbt"] = "python"
    zone: str = ""
    """That of its days, where it is not the project's."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def calendar(self, own: Calendar) -> Calendar:
        """Its windows; `own` are the project's."""
        return replace(own, zone=zone_named(self.zone)) if self.zone else own


def hours_in(calendar: Calendar, day: str, hours: Calendar) -> list[str]:
    """The hours that a day is made of."""
    window = calendar.window(day)
    return [each.key for each in hours.overlapping(window.start, window.end)]


def total(found: Mapping[str, Rows]) -> int:
    return sum(amount for rows in found.values() for _, amount in rows)


SALES = FileSource.model_validate(
    {
        "name": "sales",
        "path": "sales",
        "ds": {"type": "folder"},
        "description": "Rows.",
        "columns": {"id": Column(type="bigint"), "amount": Column(type="bigint")},
    }
)
"""Days of files."""
TOKYO = "Asia/Tokyo"
CLICKS = dg.AssetSpec(["bronze", "clicks"])
"""Hours that a program of somebody else's publishes, as a stream does."""


def tables(before: Callable[[str, int], str], late: bool = True, code: str = "1") -> list[Made]:
    """All that are made, inputs first. `before(day, n)` is the n-th day before. `late`: with the one that is added later.
    `code`: the version of the table whose code changes."""

    def day_of(look: Look, table: str, day: str, back: int = 0) -> Mapping[str, Rows]:
        return look(table, before(day, back), day)

    def sales(look: Look, day: str) -> Rows:
        rows = [row for rows in day_of(look, "bronze/sales", day).values() for row in rows]
        return [(id, 10 * max(a for i, a in rows if i == id)) for id in sorted({id for id, _ in rows})]

    def clicks(look: Look, day: str) -> Rows:
        found = look("bronze/clicks", f"{day}T00", f"{day}T24")
        return [(len(found), total(found))]

    def tokyo(look: Look, day: str) -> Rows:
        keys = hours_in(Calendar.named(TOKYO), day, Settings().calendar("hour"))
        known = look("bronze/clicks", keys[0], keys[-1])
        found = {key: known[key] for key in keys if key in known}
        return [(len(found), total(found))]

    def running(look: Look, day: str) -> Rows:
        earlier = look("silver/running", before(day, 1), before(day, 1))
        return [(1, total(earlier) // 2 + total(day_of(look, "bronze/sales", day)))]

    def gold(look: Look, day: str) -> Rows:
        sums = [total(day_of(look, "silver/sales", day, 2))]
        sums += [total(day_of(look, f"silver/{name}", day)) for name in ("clicks", "running")]
        return list(enumerate(sums))

    def changed(look: Look, day: str) -> Rows:
        return [(int(code), total(day_of(look, "silver/sales", day)) * int(code))]

    def orders(look: Look, day: str) -> Rows:
        return [row for rows in day_of(look, "bronze/orders", day).values() for row in rows]

    def doubled(look: Look, day: str) -> Rows:
        return [
            (id, 2 * amount) for rows in day_of(look, "silver/orders", day).values() for id, amount in rows
        ]

    def added(look: Look, day: str) -> Rows:
        return [(1, total(day_of(look, "gold/daily", day)) % 50)]

    found = [
        Made("silver/sales", {"bronze/sales": 0}, sales),
        Made("silver/clicks", {"bronze/clicks": 0}, clicks),
        Made("silver/tokyo", {"bronze/clicks": 0}, tokyo, zone=TOKYO),
        Made("silver/running", {"bronze/sales": 0}, running, chain=True),
        Made("gold/daily", {"silver/sales": 2, "silver/clicks": 0, "silver/running": 0}, gold),
        Made("gold/changed", {"silver/sales": 0}, changed, code=code),
        Made("silver/orders", {"bronze/orders": 0}, orders, engine="spark"),
        Made("gold/orders", {"silver/orders": 0}, doubled, engine="dbt"),
    ]
    return [*found, Made("gold/added", {"gold/daily": 0}, added)] if late else found


During = Callable[[str], None]
"""Called in the midst of a run, when it has read its inputs: what happens beside it; what it raises ends the run."""


def made_asset(made: Made, during: During) -> dg.AssetsDefinition:
    """The asset as `components/python.py` makes one, with the edges that a test wants."""
    stage, _, name = made.address.partition("/")
    partitions = windows("day", made.zone)
    spec = TableSpec(
        stage=stage,
        name=name,
        description="Rows.",
        key=("id",),
        columns={"id": Column(type="bigint"), "amount": Column(type="bigint")},
    )
    reads = dict.fromkeys(made.reads, SAME) | ({made.address: BEFORE} if made.chain else {})
    back = {table: days for table, days in made.reads.items() if days}
    deps = looking_back(
        [
            dg.AssetSpec(
                made.address.split("/"),
                deps=[dg.AssetKey(table.split("/")) for table in made.reads],
                partitions_def=partitions,
                metadata={LOOKBACK: back},
            )
        ]
    )[0].deps
    metadata = {READS: {} if back else reads, **({LOOKBACK: back} if back else {})}

    @table_asset(
        spec,
        name=f"{stage}_{name}",
        deps=list(deps),
        partitions_def=partitions,
        automation=on_upstream_change([dg.AssetKey(table.split("/")) for table in back]),
        code_version=made.code,
        into_open=True,
        extra_metadata=metadata,
        **made.options,
    )
    def asset(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[Any]:
        with clear_failures():
            days, own = days_of(context), dict[str, Rows]()
            seen = lake.lake.epochs(stage, name, days)
            reads = opened(context, lake.lake)

            def look(table: str, first: str, last: str) -> Mapping[str, Rows]:
                found = dict(rows_of(lake.lake, table, first, last))
                mine = {day: rows for day, rows in own.items() if first <= day <= last}
                return found | mine if table == made.address else found

            for day in days:
                own[day] = made.value(look, day)
            during(made.address)
            flat = [(id, amount, day) for day, rows in own.items() for id, amount in rows]
            columns = [list(column) for column in zip(*flat, strict=True)] or [[], [], []]
            staging = lake.lake.stage(stage, name, SCHEMA, days, seen)
            lake.lake.write(staging, pa.table(columns, schema=SCHEMA))
            yield from publish(context, lake.lake, spec, staging, reads=reads)

    return asset


def rows_of(lake: Lake, table: str, first: str = "", last: str = "~") -> dict[str, list[tuple[int, int]]]:
    """What readers see of the partitions, in order of id and amount."""
    stage, name = table.split("/")
    delta, found = lake.table(stage, name), dict[str, list[tuple[int, int]]]()
    if delta is None:
        return found
    for part in lake.parts(delta):
        if first <= part.day <= last:
            rows = pq.read_table(part.uri, columns=["id", "amount"], filesystem=lake.filesystem)
            pairs = zip(*(rows[column].to_pylist() for column in ("id", "amount")), strict=True)
            found[part.day] = sorted([*found.get(part.day, []), *pairs])
    return found


def definitions(
    made: list[Made], others: dg.Definitions, spark: Any, during: During, clock: Callable[[], float]
) -> dg.Definitions:
    """The project: a file source, hours of a stream, tables made of them, and the sensors that carry new data on.

    `others`: what other engines make. They share the session `spark`.
    """
    session: Any = type("Session", (), {"session": spark})()
    own = dg.Definitions(
        assets=[
            file_asset(SALES),
            CLICKS.replace_attributes(partitions_def=windows("hour")),
            *(made_asset(each, during) for each in made if each.engine == "python"),
        ],
        sensors=[file_sensor(SALES, clock), following(clock=clock)],
        resources=resources() | {"spark": dg.ResourceDefinition.hardcoded_resource(session)},
    )
    return between_zones(dg.Definitions.merge(own, others))
