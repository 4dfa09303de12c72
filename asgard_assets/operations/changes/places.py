"""Change where things are: a table's name, a source's name, the root of the lake; and remove what is no longer wanted."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from asgard_assets.errors import ConfigError, ConflictError, NotFoundError
from asgard_assets.lake import Lake
from asgard_assets.lake.changes.copying import copy, exists, move, remove, size
from asgard_assets.lake.changes.lost import lost
from asgard_assets.lake.numbers import source_name
from asgard_assets.operations.changes.migration import Migration, Step, opened, parts_of

if TYPE_CHECKING:
    import dagster as dg

STATE_OF_A_SOURCE = (
    "_plans/{}",
    "_manifest/{}",
    "_schemas/{}",
    "_control/{}.json",
    "_logins/{}",
    "quarantine/{}",
)
"""Where the engines keep what they know of a source. Who is told what of it (paused, alerts) lies in `_control`."""


def table(lake: Lake, address: str, to: str, instance: dg.DagsterInstance) -> Migration:
    """Give a table another stage or name, with its versions, its numbers and what was rejected of it."""
    (stage, name), (new_stage, new_name) = parts_of(address), parts_of(to)
    title = f"{stage}/{name} becomes {new_stage}/{new_name}"
    if "bronze" in (stage, new_stage):
        raise ConfigError(
            f"{title}: Bronze tables are filled by sources, which have state of their own: asgard migrate source"
        )
    old, new = lake.table(stage, name), lake.table(new_stage, new_name)
    if old is None and new is not None:
        return Migration(title, ())
    if old is None:
        opened(lake, address)  # says what there is
    assert old is not None
    if new is not None and new.metadata().id != old.metadata().id:
        raise ConflictError(f"there is a table {new_stage}/{new_name} already; remove it first")
    places = [(f"{stage}/{name}", f"{new_stage}/{new_name}")]
    places += (
        [(f"rejected/{name}", f"rejected/{new_name}")] if (stage, new_stage) == ("silver", "silver") else []
    )
    steps = [_moved(lake, *each) for each in places if each[0] != each[1] and exists(lake, each[0])]
    days = sorted({part.day or "" for part in lake.parts(old)})
    steps += [
        Step(f"record {len(days)} partitions of {new_stage}/{new_name} in Dagster", _recorded(instance, (new_stage, new_name), days)),
        Step(f"wipe {stage}/{name} in Dagster", _wiped(instance, [f"{stage}/{name}"])),
    ]  # fmt: skip
    then = f"name it {new_stage}/{new_name} in the YAML or code that makes it, and where it is read; readers are built again"
    return Migration(title, tuple(steps), (then,))


def source(
    lake: Lake, name: str, to: str, instance: dg.DagsterInstance, keep_table: bool = False
) -> Migration:
    """Give a source another name: what it loaded stays loaded. Its table bronze/<name> is renamed with it, unless it is kept."""
    try:
        source_name(to)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    title = f"the source {name} becomes {to}"
    pairs = [(each.format(name), each.format(to)) for each in STATE_OF_A_SOURCE]
    pairs += [(f"receipts/bronze.{name}", f"receipts/bronze.{to}")]
    renamed = not keep_table and lake.table("bronze", name) is not None
    pairs += [(f"bronze/{name}", f"bronze/{to}")] if renamed else []
    steps, there = list[Step](), [pair for pair in pairs if exists(lake, pair[0])]
    if not there and any(exists(lake, new) for _, new in pairs):
        return Migration(title, ())
    if not there:
        raise NotFoundError(f"nothing in the lake belongs to a source {name}")
    for old, new in there:
        if exists(lake, new) and not _same_table(lake, old, new):
            raise ConflictError(f"{title}: {new} is there already, of another source; remove it first")
    days: list[str] = []
    for stage, table_name in lake.tables():
        numbers = lake.snapshot(stage, table_name).numbers if stage in ("bronze", "quarantine") else {}
        plans = {
            f"{to}/{app.partition('/')[2]}": n for app, n in numbers.items() if app.partition("/")[0] == name
        }
        missing = {app: n for app, n in plans.items() if numbers.get(app) != n}
        if missing:
            steps.append(
                Step(
                    f"{stage}/{table_name}: count {len(missing)} loads under the new name",
                    _counted(lake, stage, table_name, missing),
                )
            )
        if (stage, table_name) == ("bronze", name):
            days = sorted({part.day or "" for part in lake.live(stage, table_name)})
    steps += [_moved(lake, old, new) for old, new in there]
    if renamed:
        steps += [
            Step(
                f"record {len(days)} partitions of bronze/{to} in Dagster",
                _recorded(instance, ("bronze", to), days),
            ),
            Step(f"wipe bronze/{name} in Dagster", _wiped(instance, [f"bronze/{name}"])),
        ]
    return Migration(
        title, tuple(steps), (f"rename the source in its defs.yaml to {to}, and where its table is read",)
    )


def root(lake: Lake, to: Lake) -> Migration:
    """Copy the whole lake to another root. It can be begun while runs go on, and repeated: only what is new is copied."""
    if to.root.rstrip("/") == lake.root.rstrip("/"):
        raise ConfigError(f"the lake is at {to.root} already")
    if f"{to.root.rstrip('/')}/".startswith(f"{lake.root.rstrip('/')}/"):
        raise ConfigError(f"{to.root} lies in the lake that it is to replace")
    found = size(lake, "")
    step = Step(f"copy {found} from {lake.root} to {to.root}", lambda: copy(lake, "", to, ""))
    then = (
        "stop what writes (asgard pause, the daemon), and copy once more: only what is new is copied",
        f"set ASGARD_LAKE={to.root} (lake in the chart's values) and start again; nothing kept refers to the old place",
        f"remove {lake.root} when you are sure",
    )
    return Migration(f"the lake moves to {to.root}", (step,), then)


def asset(
    lake: Lake,
    address: str,
    instance: dg.DagsterInstance,
    known: Collection[str],
    forget_online: Callable[[], object],
) -> Migration:
    """Remove an asset with all that belongs to it: table, state, rejected and quarantined rows, receipts, online values,
    alerts. `known`: the assets that the project still has. `forget_online` takes views that are no longer declared out
    of the online store. Raises ConflictError where the project would make it again.
    """
    stage, name = parts_of(address)
    if f"{stage}/{name}" in lost(lake):  # what is left of a table that the project is to build again
        return Migration(
            f"what is left of {stage}/{name}, whose log is lost, is removed",
            (
                Step(
                    f"remove {stage}/{name}: {size(lake, f'{stage}/{name}')}",
                    _removed(lake, f"{stage}/{name}"),
                ),
                Step(f"wipe {stage}/{name} in Dagster", _wiped(instance, [f"{stage}/{name}"])),
            ),
            ("its partitions count as never built: they are built at the next tick",),
        )
    if f"{stage}/{name}" in known:
        raise ConflictError(
            f"{stage}/{name} is in the project, which would make it again: remove its YAML or code first"
        )
    places = [f"{stage}/{name}", f"receipts/{stage}.{name}", f"_schemas/{stage}/{name}.json"]
    if stage == "bronze":
        numbers = lake.snapshot(stage, name).numbers
        sources = {name, *(app.partition("/")[0] for app in numbers)} - {"asgard"}
        fed = {
            app.partition("/")[0]
            for other_stage, other in lake.tables()
            if other_stage == "bronze" and other != name
            for app in lake.snapshot(other_stage, other).numbers
        }  # a source of several tables keeps its state with the others
        places += [each.format(found) for found in sorted(sources - fed) for each in STATE_OF_A_SOURCE]
    if stage == "silver":
        places += [f"rejected/{name}"]
    steps = [
        Step(f"remove {place}: {size(lake, place)}", _removed(lake, place))
        for place in places
        if exists(lake, place)
    ]
    if stage == "features":
        steps.append(Step(f"remove the values of {name} from the online store", forget_online))
    also = [f"{stage}/{name}", *([f"rejected/{name}"] if stage == "silver" else [])]
    if _in_history(instance, also):
        steps.append(
            Step(f"wipe {' and '.join(also)} in Dagster, with what was told of it", _wiped(instance, also))
        )
    if not steps:
        raise NotFoundError(f"there is nothing of {stage}/{name}")
    return Migration(f"{stage}/{name} is removed", tuple(steps))


def _same_table(lake: Lake, old: str, new: str) -> bool:
    """Whether one is the copy of the other that an interrupted migration has begun."""
    tables = [lake.table(*path.split("/", 1)) if path.count("/") == 1 else None for path in (old, new)]
    left, right = tables
    return left is not None and right is not None and left.metadata().id == right.metadata().id


def _moved(lake: Lake, old: str, new: str) -> Step:
    return Step(f"move {old} to {new}: {size(lake, old)}", lambda: move(lake, old, new))


def _removed(lake: Lake, place: str) -> Callable[[], object]:
    return lambda: remove(lake, place)


def _counted(lake: Lake, stage: str, name: str, numbers: dict[str, int]) -> Callable[[], object]:
    return lambda: lake.count(stage, name, numbers)


def _recorded(instance: dg.DagsterInstance, path: tuple[str, str], days: list[str]) -> Callable[[], object]:
    def record() -> None:
        import dagster as dg

        for day in days:
            instance.report_runless_asset_event(
                dg.AssetMaterialization(list(path), partition=day or None, description="moved here")
            )

    return record


def _wiped(instance: dg.DagsterInstance, assets: list[str]) -> Callable[[], object]:
    def wipe() -> None:
        import dagster as dg

        instance.wipe_assets([dg.AssetKey(each.split("/")) for each in assets])

    return wipe


def _in_history(instance: dg.DagsterInstance, assets: list[str]) -> bool:
    import dagster as dg

    return any(instance.has_asset_key(dg.AssetKey(each.split("/"))) for each in assets)
