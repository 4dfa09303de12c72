"""What each publish says of a partition: how often its rows changed, and what it was built from."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from asgard_assets.lake import Lake
from asgard_assets.lake.numbers import code_id, publish_id, read_id, rows_id
from asgard_assets.lake.reads import Edge, Reads, Stand, read_hashes

DAYS = [f"2026-10-{day:02}" for day in range(5, 15)]
SCHEMA = pa.schema([("id", pa.int64()), ("at", pa.string()), ("ds", pa.string())])


def publish(
    lake: Lake, name: str, rows: dict[str, list[int]], at: str = "", reads: Reads | None = None
) -> None:
    staging = lake.stage("bronze", name, SCHEMA, sorted(rows))
    ids = [(i, at, day) for day, found in rows.items() for i in found]
    columns = [list(column) for column in zip(*ids, strict=True)] or [[], [], []]
    lake.write(staging, pa.table(columns, schema=SCHEMA))
    lake.publish(staging, reads=reads, volatile={"at"})


def numbers(lake: Lake, name: str, day: str) -> tuple[int, int]:
    found = lake.snapshot("bronze", name).numbers
    return found.get(publish_id(day), 0), found.get(rows_id(day), 0)


def test_rows_count_only_where_they_changed(lake: Lake):
    publish(lake, "x", {DAYS[0]: [1, 2], DAYS[1]: [3]})
    assert (numbers(lake, "x", DAYS[0]), numbers(lake, "x", DAYS[1])) == ((1, 1), (1, 1))
    publish(lake, "x", {DAYS[0]: [2, 1]}, at="later")
    assert numbers(lake, "x", DAYS[0]) == (2, 1), "another order, and another value in a volatile column"
    publish(lake, "x", {DAYS[0]: [1, 3]})
    assert numbers(lake, "x", DAYS[0]) == (3, 2)
    publish(lake, "x", {DAYS[0]: [1, 3, 3]})
    assert numbers(lake, "x", DAYS[0]) == (4, 3)
    publish(lake, "x", {DAYS[0]: [1, 1, 3]})
    assert numbers(lake, "x", DAYS[0]) == (5, 4), "as many rows, and another one twice"
    publish(lake, "x", {DAYS[0]: []})
    publish(lake, "x", {DAYS[0]: []})
    assert numbers(lake, "x", DAYS[0]) == (7, 5)
    assert numbers(lake, "x", DAYS[1]) == (1, 1)


def test_a_day_carries_what_it_was_built_from(lake: Lake):
    publish(lake, "x", {DAYS[0]: [1], DAYS[1]: [2]})
    edges = (Edge("bronze/x"),)
    reads = Reads.open(lake, edges, code=7)
    publish(lake, "x", {DAYS[0]: [5]})  # while the run works
    publish(lake, "y", {DAYS[0]: [1], DAYS[1]: [2]}, reads=reads)
    found = lake.snapshot("bronze", "y").numbers
    assert found[code_id(DAYS[0])] == 7
    now = Reads.open(lake, edges).hashes("bronze/y", Stand(), DAYS[:2])
    assert found[read_id(DAYS[1])] == now[DAYS[1]]
    assert found[read_id(DAYS[0])] != now[DAYS[0]], "the update came after it was read"


def test_a_day_that_is_only_written_again_keeps_what_it_was_built_from(lake: Lake):
    edges = (Edge("bronze/x"),)
    publish(lake, "x", {DAYS[0]: [1], DAYS[1]: [2]})
    publish(lake, "y", {DAYS[0]: [1], DAYS[1]: [2]}, reads=Reads.open(lake, edges, code=7))
    publish(lake, "x", {DAYS[0]: [3], DAYS[1]: [4]})
    before = lake.snapshot("bronze", "y").numbers
    reads = replace(Reads.open(lake, edges, code=8), only=frozenset(DAYS[1:2]))
    publish(lake, "y", {DAYS[0]: [1], DAYS[1]: [2]}, reads=reads)
    after = lake.snapshot("bronze", "y").numbers
    assert [after[each(DAYS[0])] == before[each(DAYS[0])] for each in (read_id, code_id)] == [True, True]
    assert [after[each(DAYS[1])] == before[each(DAYS[1])] for each in (read_id, code_id)] == [False, False]


def test_an_unchanged_rebuild_ends_the_cascade(lake: Lake):
    publish(lake, "x", {DAYS[0]: [1]})
    edges = (Edge("bronze/x"),)
    before = Reads.open(lake, edges).hashes("", Stand(), DAYS[:1])
    publish(lake, "x", {DAYS[0]: [1]}, at="again")
    assert Reads.open(lake, edges).hashes("", Stand(), DAYS[:1]) == before


def test_a_table_that_was_made_anew_is_another_one():
    rows = {DAYS[0]: 1}
    one, other = (read_hashes([Edge("a/x")], {"a/x": Stand(id, rows)}, DAYS[:1]) for id in ("1", "2"))
    assert one != other


@pytest.mark.parametrize(
    ("edge", "stale"),
    [
        (Edge("a/x"), [DAYS[4]]),
        (Edge("a/x", back=2), DAYS[4:7]),
        (Edge("a/x", back=None), DAYS[4:]),
        (Edge("a/x", back=1, ahead=-1), [DAYS[5]]),
        (Edge("a/x", back=0, ahead=6), DAYS[:5]),
        (Edge("a/x", back=None, ahead=None), DAYS),
    ],
    ids=["same window", "the last three", "up to the window", "the one before", "a week", "all"],
)
def test_a_change_makes_those_stale_that_read_it(edge: Edge, stale: list[str]):
    rows = dict.fromkeys(DAYS, 1)
    before = read_hashes([edge], {"a/x": Stand("t", rows)}, DAYS)
    after = read_hashes([edge], {"a/x": Stand("t", rows | {DAYS[4]: 2})}, DAYS)
    assert [day for day in DAYS if before[day] != after[day]] == stale


def test_a_table_that_keeps_history_reads_its_own_day_before(lake: Lake):
    edges = (Edge("bronze/x"), Edge("bronze/h", back=1, ahead=-1))
    publish(lake, "x", {day: [1] for day in DAYS[:3]})
    publish(lake, "h", {day: [1] for day in DAYS[:3]}, reads=Reads.open(lake, edges))

    def stale() -> list[str]:
        snapshot = lake.snapshot("bronze", "h")
        now = Reads.open(lake, edges).hashes(
            "bronze/h", Stand.of(snapshot.table_id, snapshot.numbers), DAYS[:3]
        )
        return [day for day in DAYS[:3] if snapshot.numbers[read_id(day)] != now[day]]

    assert stale() == []
    publish(lake, "h", {DAYS[0]: [1, 2]}, reads=Reads.open(lake, edges))
    assert stale() == [DAYS[1]]
    publish(lake, "h", {DAYS[1]: [1]}, reads=Reads.open(lake, edges))
    assert stale() == [], "its rows are as they were: the day after stays as it is"


def stale_after(lake: Lake, change) -> list[str]:
    """Days of a reader that are stale after another writer's commit, and again after the lake's next one."""
    publish(lake, "x", {day: [1, 2] for day in DAYS[:3]})
    edges = (Edge("bronze/x"),)
    before = Reads.open(lake, edges).hashes("", Stand(), DAYS[:4])
    change()
    after = Reads.open(lake, edges).hashes("", Stand(), DAYS[:4])
    publish(lake, "x", {DAYS[8]: [1]})
    assert Reads.open(lake, edges).hashes("", Stand(), DAYS[:4]) == after, "counted, and not forgotten"
    return [day for day in DAYS[:4] if before[day] != after[day]]


def test_the_append_of_another_writer_counts_for_the_days_that_it_touched(lake: Lake):
    from deltalake import write_deltalake

    def append() -> None:
        rows = pa.table([[7, 8], ["", ""], [DAYS[1], DAYS[3]]], schema=SCHEMA)
        write_deltalake(lake.path("bronze", "x"), rows, mode="append")

    assert stale_after(lake, append) == [DAYS[1], DAYS[3]]


def test_the_delete_and_the_restore_of_another_writer_count(lake: Lake):
    def delete() -> None:
        table = lake.table("bronze", "x")
        assert table is not None
        table.delete(f"id = 1 and ds = '{DAYS[2]}'")

    assert stale_after(lake, delete) == [DAYS[2]]

    def restore() -> None:
        table = lake.table("bronze", "x")
        assert table is not None
        table.restore(1)

    assert DAYS[2] in stale_after(lake, restore)


def test_each_of_several_foreign_commits_counts_and_none_is_lost_behind_a_checkpoint(lake: Lake):
    from deltalake import write_deltalake

    publish(lake, "x", {DAYS[0]: [1]})
    seen = set()
    for number in range(3):
        rows = pa.table([[number], [""], [DAYS[0]]], schema=SCHEMA)
        write_deltalake(lake.path("bronze", "x"), rows, mode="append")
        table = lake.table("bronze", "x")
        assert table is not None
        table.create_checkpoint()
        seen |= {*Reads.open(lake, (Edge("bronze/x"),)).hashes("", Stand(), DAYS[:1]).values()}
    assert len(seen) == 3


def test_compaction_changes_nothing(lake: Lake):
    publish(lake, "x", {DAYS[0]: [1]})
    staging = lake.stage("bronze", "x", SCHEMA, DAYS[:1])
    lake.write(staging, pa.table([[9], [""], DAYS[:1]], schema=SCHEMA))
    lake.amend(staging, lambda live: {}, {})
    edges = (Edge("bronze/x"),)
    before = Reads.open(lake, edges).hashes("", Stand(), DAYS[:1])
    table = lake.table("bronze", "x")
    assert table is not None
    assert table.optimize.compact()["numFilesRemoved"] == 2
    assert Reads.open(lake, edges).hashes("", Stand(), DAYS[:1]) == before
