"""The decorator is plain data, and the contract that it carries is kept."""

from __future__ import annotations

import subprocess
import sys

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.transforms.silver import conforms, silver, until


def table(**more):
    options = {"inputs": ("bronze.a",), "key": ("id",), "columns": {"id": "bigint"}, "description": "A."}

    @silver(**{**options, **more})
    def things(a):
        return a

    return things


def test_the_decorated_function_stays_callable_and_carries_its_contract():
    things = table(columns={"id": ("bigint", "The id."), "x": "double"}, owners=("team:shop",))
    assert things(a=5) == 5
    assert things.spec.asset_key == ["silver", "things"]
    assert list(things.spec.columns) == ["id", "x", "ds"]
    assert things.spec.columns["id"].description == "The id."
    assert things.spec.owners == ("team:shop",)
    assert things.ddl == "`id` bigint, `x` double, `ds` string"


def test_parameters_that_are_not_the_inputs_are_refused():
    with pytest.raises(ConfigError, match=r"takes \(a\), but its inputs are \(a, b\)"):
        table(inputs=("bronze.a", until("bronze.b")))
    with pytest.raises(ConfigError, match="earlier"):
        table(history=True)
    with pytest.raises(ConfigError, match=r"named stage\.table"):
        table(inputs=("a",))


def test_a_type_that_is_none_of_sparks_and_a_key_that_is_no_column_are_refused():
    with pytest.raises(ConfigError, match="column id has the type 'money'"):
        table(columns={"id": "money"})
    with pytest.raises(ConfigError, match="the key number is none of its columns"):
        table(key=("number",))
    table(columns={"id": "DECIMAL(12, 2)", "x": "array<struct<a: int>>", "y": "timestamp_ntz"})


def test_columns_that_differ_from_the_declared_ones_are_named(spark):
    frame = spark.createDataFrame([("1", "d", 2)], "id string, ds string, extra int")
    with pytest.raises(ConfigError, match="extra is not declared; id is string, declared bigint"):
        conforms(table(), frame)


def test_transforms_import_neither_dagster_nor_spark():
    code = (
        "import sys, asgard_assets.transforms.silver, asgard_assets.transforms.rows, "
        "asgard_assets.transforms.history, asgard_assets.transforms.rejects\n"
        "assert not {'dagster', 'pyspark', 'pyarrow'} & set(sys.modules), 'slow import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
