"""Every row that goes in comes out once: typed, or rejected with a reason."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.transforms.rows import missing, parsed, split, typed

DAY = "2026-10-05"
COLUMNS = {"id": "bigint", "amount": "decimal(12,2)", "ratio": "double", "day": "date", "paid": "boolean"}
GOOD = {"id": "1", "amount": "12.50", "ratio": "0.5", "day": "2026-10-05", "paid": "true"}


def frame(spark, *rows: dict, ds: str = DAY):
    names = list(GOOD)
    data = [tuple({**GOOD, **row}[n] for n in names) + (row.get("ds", ds),) for row in rows]
    return spark.createDataFrame(data, ", ".join(f"{n} string" for n in [*names, "ds"]))


WRONG = [
    ({"amount": "12,5O"}, "amount is not a number: 12,5O"),
    ({"ratio": "nan"}, "ratio is not a number: nan"),
    ({"ratio": "12d"}, "ratio is not a number: 12d"),
    ({"amount": "99999999999.99"}, "amount is not a number: 99999999999.99"),
    ({"id": "1.5"}, "id is not a whole number: 1.5"),
    ({"id": "user-17"}, "id is not a whole number: user-17"),
    ({"day": "2026"}, "day is not a date: 2026"),
    ({"day": "2026-02-30"}, "day is not a date: 2026-02-30"),
    ({"paid": "maybe"}, "paid is not true or false: maybe"),
    ({"id": ""}, "id is missing"),
    ({"id": None}, "id is missing"),
    ({"amount": "-1"}, "amount is negative"),
]


def test_a_value_that_does_not_parse_is_rejected_and_never_a_silent_null(spark):
    rules = [*missing("id"), ("amount is negative", "amount < 0")]
    source = frame(spark, *(wrong for wrong, _ in WRONG))
    valid, rejected = split(typed(source, COLUMNS), rules)
    found = rejected.collect()
    assert [(row.reason, row.ds) for row in found] == [(reason, DAY) for _, reason in WRONG]
    for row, (wrong, _) in zip(found, WRONG, strict=True):
        assert json.loads(row.record) == {k: v for k, v in {**GOOD, **wrong}.items() if v is not None}
    assert valid.count() == 0


def test_rows_in_are_rows_out_and_rejected_whatever_the_rows_are(spark):
    ids = ["1", "1", "2", None, "x", " 3 ", "3", ""]
    amounts = ["1", "1.0", "no", "", None, "-5"]
    rows = [{"id": i, "amount": a, "ds": d} for i in ids for a in amounts for d in (DAY, "2026-10-06")]
    source = frame(spark, *rows)
    rules = [*missing("id", "amount"), ("amount is negative", "amount < 0")]
    valid, rejected = split(typed(source, COLUMNS), rules, key=("id",))
    good, bad = valid.collect(), rejected.collect()
    assert len(good) + len(bad) == len(rows)
    assert Counter((r.id, r.ds) for r in good) == {(i, d): 1 for i in (1, 2, 3) for d in (DAY, "2026-10-06")}
    assert all(r.reason for r in bad)


def test_a_bad_row_takes_no_good_rows_place(spark):
    valid, rejected = split(
        typed(frame(spark, {"amount": "bad", "ratio": "0"}, {"ratio": "1"}), COLUMNS),
        key=("id",),
        order=("ratio",),
    )
    assert [r.ratio for r in valid.collect()] == [1.0]
    assert [r.reason for r in rejected.collect()] == ["amount is not a number: bad"]


def test_of_duplicates_the_first_by_the_declared_order_stays(spark):
    source = frame(spark, {"ratio": "1"}, {"ratio": "3"}, {"ratio": "2"})
    valid, rejected = split(typed(source, COLUMNS), key=("id",), order=("ratio desc",))
    assert [r.ratio for r in valid.collect()] == [3.0]
    assert [r.reason for r in rejected.collect()] == ["duplicate", "duplicate"]


def test_a_column_that_the_source_has_not_yet_is_null(spark):
    (row,) = split(typed(frame(spark, {}), {"id": "bigint", "discount": "double"})).valid.collect()
    assert (row.id, row.discount) == (1, None)


def test_json_fields_keep_their_text_so_that_wrong_types_are_seen(spark):
    bodies = ['{"id": 1, "minutes": 41.5}', '{"id": 2, "minutes": "n/a"}', "not json", '{"id": 4}', "[1]"]
    source = spark.createDataFrame([(b, DAY) for b in bodies], "body string, ds string")
    rows = typed(parsed(source, "body", ["id", "minutes"]), {"id": "bigint", "minutes": "double"}, ("body",))
    valid, rejected = split(rows, missing("id"))
    assert sorted((r.id, r.minutes) for r in valid.collect() if r.minutes) == [(1, 41.5)]
    assert valid.where("minutes is null").count() == 1
    assert Counter(r.reason for r in rejected.collect()) == {
        "minutes is not a number: n/a": 1,
        "id is missing": 2,
    }


def test_a_type_that_nobody_can_parse_is_a_configuration_error(spark):
    with pytest.raises(ConfigError, match="column id: type uuid"):
        typed(frame(spark, {}), {"id": "uuid"})
