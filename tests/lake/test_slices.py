"""Tables that are cut by a second column beside time: a publish replaces exactly its slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pytest

from asgard_assets.errors import FencedError, LakeError
from asgard_assets.lake import Lake, Staging
from asgard_assets.windows import by_value, slice_of, value_of, window_of

SCHEMA = pa.schema([("id", pa.int64()), ("region", pa.string()), ("ds", pa.string())])
DAYS = ("2026-10-05", "2026-10-06")


def staged(lake: Lake, rows: Mapping[str, Sequence[int]], schema: pa.Schema = SCHEMA) -> Staging:
    """Rows by slice."""
    staging = lake.stage("gold", "sales", schema, list(rows), dimension="region")
    flat = [(id, value_of(key), window_of(key)) for key, ids in rows.items() for id in ids]
    columns = [list(column) for column in zip(*flat, strict=True)] or [[], [], []]
    lake.write(staging, pa.table(columns, schema=SCHEMA))
    return staging


def found(lake: Lake) -> list[tuple[str, str, int]]:
    with lake.connect() as connection:
        return connection.execute("select ds, region, id from gold.sales order by all").fetchall()


def test_a_publish_replaces_its_slices_and_leaves_all_others(lake: Lake):
    eu, us = (slice_of(DAYS[0], value) for value in ("eu", "us"))
    later = slice_of(DAYS[1], "eu")
    done = lake.publish(staged(lake, {eu: [1, 2], us: [3], later: [4]}))
    assert done.rows == {eu: 2, us: 1, later: 1}
    lake.publish(staged(lake, {us: [5], later: []}))
    assert found(lake) == [(DAYS[0], "eu", 1), (DAYS[0], "eu", 2), (DAYS[0], "us", 5)]
    assert lake.epochs("gold", "sales", [eu, us, later]) == {eu: 1, us: 2, later: 2}


def test_slices_count_by_themselves_whether_their_rows_changed(lake: Lake):
    eu, us = (slice_of(DAYS[0], value) for value in ("eu", "us"))
    lake.publish(staged(lake, {eu: [1, 2], us: [3]}))
    lake.publish(staged(lake, {eu: [2, 1], us: [4]}))
    numbers = lake.snapshot("gold", "sales").numbers
    assert (numbers[f"asgard/rows/{eu}"], numbers[f"asgard/rows/{us}"]) == (1, 2)


def test_two_writers_of_other_slices_of_a_day_do_not_fence_each_other(lake: Lake):
    eu, us = (slice_of(DAYS[0], value) for value in ("eu", "us"))
    one, two, late = (staged(lake, {key: [1]}) for key in (eu, us, eu))
    lake.publish(one)
    lake.publish(two)
    with pytest.raises(FencedError):
        lake.publish(late)


def test_another_program_that_deletes_a_slice_is_seen(lake: Lake):
    eu, us = (slice_of(DAYS[0], value) for value in ("eu", "us"))
    lake.publish(staged(lake, {eu: [1], us: [3]}))
    table = lake.table("gold", "sales")
    assert table is not None
    table.delete("region = 'eu'")
    assert list(lake.snapshot("gold", "sales").foreign) == [eu]


def test_rows_of_other_slices_and_names_that_no_folder_can_have_are_refused(lake: Lake):
    with pytest.raises(LakeError, match=r"2026-10-05\|us, which was not asked for"):
        lake.write(
            lake.stage("gold", "sales", SCHEMA, ["2026-10-05|eu"], dimension="region"),
            pa.table([[1], ["us"], [DAYS[0]]], schema=SCHEMA),
        )
    for key in ("2026-10-05|e/u", "2026-10-05|..", "soon|eu"):
        with pytest.raises(LakeError):
            lake.stage("gold", "sales", SCHEMA, [key], dimension="region")
    with pytest.raises(LakeError, match="need their column"):
        lake.stage("gold", "sales", SCHEMA, ["2026-10-05|eu"])


def test_keys_by_value():
    assert by_value(["2026-10-05|eu", "2026-10-06|eu", "2026-10-05|us"]) == {
        "eu": list(DAYS),
        "us": [DAYS[0]],
    }
