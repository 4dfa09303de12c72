"""A plan is done when its number was committed, and not before."""

from __future__ import annotations

import pyarrow as pa

from asgard_assets.ingest.files.listing import File, Listing
from asgard_assets.ingest.files.models import FileSource
from asgard_assets.ingest.files.plans import app_id, done_plans, files_state, write_plan
from asgard_assets.lake import Lake

DAY, NEXT = "2026-10-05", "2026-10-06"
A, B = File("s/a.csv", 1, 10), File("s/b.csv", 2, 20)
SOURCE = FileSource.model_validate({"name": "s", "path": "s", "ds": {"type": "arrival"}, "description": "d"})
SCHEMA = pa.schema([("x", pa.int64()), ("ds", pa.string())])


def commit(lake: Lake, plans: dict[str, int]) -> None:
    staging = lake.stage("bronze", "s", SCHEMA, [DAY])
    lake.publish(staging, plans=plans)


def states(lake: Lake, **days: list[File]) -> dict[str, str]:
    listing = Listing({day.replace("_", "-")[1:]: files for day, files in days.items()})
    return {state.path: state.state for state in files_state(lake, SOURCE, listing)}


def test_plans_of_a_day_are_numbered_and_never_overwritten(lake: Lake) -> None:
    assert [write_plan(lake, "s", DAY, [A]).number for _ in range(3)] == [1, 2, 3]
    assert write_plan(lake, "s", NEXT, [A]).number == 1


def test_a_plan_without_its_commit_is_not_done(lake: Lake) -> None:
    first = write_plan(lake, "s", DAY, [A])
    assert done_plans(lake, "s", [DAY]) == {}
    commit(lake, {app_id("s", DAY): first.number})
    write_plan(lake, "s", DAY, [A, B])  # killed before it committed
    assert done_plans(lake, "s", [DAY]) == {DAY: first}
    assert states(lake, _2026_10_05=[A, B]) == {"s/a.csv": "loaded", "s/b.csv": "pending"}


def test_a_done_day_does_not_hide_another_one(lake: Lake) -> None:
    write_plan(lake, "s", DAY, [A])
    later = write_plan(lake, "s", NEXT, [B])
    commit(lake, {app_id("s", NEXT): later.number})
    assert states(lake, _2026_10_05=[A], _2026_10_06=[B]) == {"s/a.csv": "pending", "s/b.csv": "loaded"}


def test_changed_and_deleted_files_are_told(lake: Lake) -> None:
    plan = write_plan(lake, "s", DAY, [A, B])
    commit(lake, {app_id("s", DAY): plan.number})
    changed = File(A.path, A.size, A.modified_us + 1)
    assert states(lake, _2026_10_05=[changed]) == {"s/a.csv": "changed", "s/b.csv": "deleted"}


def test_a_plan_number_is_above_the_committed_one_even_where_plans_were_removed(lake: Lake) -> None:
    commit(lake, {app_id("s", DAY): 7})
    assert write_plan(lake, "s", DAY, [A]).number == 8
    assert states(lake, _2026_10_05=[A]) == {"s/a.csv": "pending"}
