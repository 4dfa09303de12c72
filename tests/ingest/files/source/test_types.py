"""Types by name and back, and the type that holds two others."""

from __future__ import annotations

import pyarrow as pa
import pytest

from asgard_assets.ingest.files.source.types import normal, widened
from asgard_assets.lake.sql import TypeNameError, arrow_type, type_name


@pytest.mark.parametrize(
    "kind",
    [
        pa.struct([("a:b", pa.int64()), ("x,y", pa.list_(pa.struct([("q`<", pa.string())])))]),
        pa.struct([(">", pa.map_(pa.string(), pa.decimal128(5, 2))), ("é", pa.date32()), ("", pa.bool_())]),
        pa.list_(pa.list_(pa.timestamp("us", "UTC"))),
    ],
)
def test_a_type_is_found_again_by_its_name(kind: pa.DataType) -> None:
    assert arrow_type(type_name(kind)) == kind


@pytest.mark.parametrize(
    "name", ["struct<`a: int>", "struct<>", "array<int, int>", "decimal(39,1)", "map<int>", "", "numbr"]
)
def test_a_name_that_is_no_type_is_refused(name: str) -> None:
    with pytest.raises(TypeNameError):
        arrow_type(name)


def test_names_of_fields_are_clean_and_differ_in_more_than_case() -> None:
    kind = pa.struct([("a b", pa.int64()), ("A_B", pa.float64()), ("", pa.string())])
    assert normal(kind) == pa.struct([("a_b", pa.float64()), ("_", pa.string())])


def test_what_can_widen_does_beside_what_cannot() -> None:
    one, other = (
        arrow_type("struct<a: int, b: array<int>, c: date>"),
        arrow_type("struct<A: string, b: array<bigint>, d: int>"),
    )
    assert type_name(widened(one, other)) == "struct<a: int, b: array<bigint>, c: date, d: int>"
