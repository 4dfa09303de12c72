import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgard_assets.ingest.api.source.payload import (
    Misfits,
    checked,
    fit,
    merge,
    payload_type,
    settled,
    shape,
    sql_type,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def test_a_schema_is_told_from_values():
    told = merge(
        shape({"id": 1, "tags": ["a"], "at": None, "more": {"x": 1}}),
        shape({"id": 2.5, "tags": [], "more": {"y": True}, "odd": "1"}),
    )
    told = merge(told, shape({"odd": 1}))
    assert settled(told) == {
        "id": "double",
        "tags": ["string"],
        "at": "json",
        "more": {"x": "bigint", "y": "boolean"},
        "odd": "json",
    }


@pytest.mark.parametrize("value", [{}, {"a b": 1}, {"a": 1, "A": 2}, {str(n): n for n in range(300)}])
def test_what_cannot_be_columns_is_kept_as_json(value):
    assert settled(shape({"x": value})) == {"x": "json"}


@settings(deadline=None)
@given(st.lists(JSON, min_size=1, max_size=5))
def test_every_value_fits_the_schema_told_from_it(values):
    import pyarrow as pa

    told = None
    for value in values:
        told = merge(told, shape(value))
    schema = settled(told)
    misfits = Misfits()
    fitted = [fit(value, schema, misfits) for value in values]
    assert not misfits.values
    assert len(pa.array(fitted, payload_type(schema))) == len(values)


@settings(deadline=None)
@given(JSON)
def test_what_does_not_fit_is_rescued_whole_and_the_rest_is_still_a_column(value):
    import pyarrow as pa

    schema = {"x": {"a": "bigint"}}
    misfits = Misfits()
    fitted = fit({"x": value}, schema, misfits)
    pa.array([fitted], payload_type(schema))
    if isinstance(value, dict):
        rescued = {path.removeprefix("x."): inner for path, inner in misfits.values.items()}
        kept = {"a": fitted["x"]["a"]} if value.get("a") is not None and "a" not in rescued else {}
        assert rescued | kept == {
            name: inner for name, inner in value.items() if (name, inner) != ("a", None)
        }
    elif value is not None:
        assert (fitted, misfits.values) == ({"x": None}, {"x": value})


def test_what_does_not_fit_is_named_by_path_and_kind():
    schema = checked({"id": "bigint", "items": [{"n": "double"}], "at": "timestamp", "raw": "json"})
    misfits = Misfits()
    value = {"id": "7", "items": [{"n": 1, "new": 2}, 5], "at": "2026-10-05T01:00:00Z", "raw": {"a": [1]}}
    fitted = fit(value, schema, misfits)
    assert misfits.kinds == {"id": "type", "items[].new": "new", "items[]": "type"}
    assert misfits.values == {"id": "7", "items.0.new": 2, "items.1": 5}
    assert fitted["items"] == [{"n": 1.0}, None]
    assert fitted["raw"] == '{"a":[1]}'
    assert fitted["at"].isoformat() == "2026-10-05T01:00:00+00:00"


def test_a_schema_reads_as_sql():
    assert (
        sql_type({"id": "bigint", "tags": ["string"], "raw": "json"})
        == "struct<id:bigint,tags:array<string>,raw:string>"
    )


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"a": "int"}, "a has the unknown type 'int'"),
        ({"a": {"b": []}}, r"a\.b must be a type"),
        ({"a": "string", "A": "string"}, "differ only in case"),
        ({"a b": "string"}, "cannot be named 'a b'"),
    ],
)
def test_a_wrong_schema_is_refused_with_its_place(schema, said):
    with pytest.raises(ValueError, match=said):
        checked(schema)
