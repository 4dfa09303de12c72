"""Tables from one Python function: what it returns is what was declared."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.components.python import table
from asgard_assets.lake import Lake
from asgard_assets.resources.lake import LakeResource

DAY = "2026-10-05"


def run(lake: Lake, returned: Any) -> dg.ExecuteInProcessResult:
    @table(
        "model/scores",
        deps=[],
        key=["id"],
        columns={"id": "bigint", "score": "double"},
        description="Scores.",
    )
    def scores(lake: Lake, days: list[str]) -> Any:
        return returned

    return dg.materialize(
        [scores], resources={"lake": LakeResource(root=lake.root)}, partition_key=DAY, raise_on_error=False
    )


def test_the_rows_of_a_function_become_a_table_in_the_declared_order(lake: Lake):
    assert run(lake, pa.table({"ds": [DAY], "score": [0.5], "id": [7]})).success
    with lake.connect() as connection:
        assert connection.execute("select * from model.scores").fetchall() == [(7, 0.5, DAY)]


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "returned NoneType, not a pyarrow.Table"),
        (pa.table({"id": [7], "score": [0.5]}), "ds is missing"),
        (pa.table({"id": [7], "sco": [0.5], "ds": [DAY]}), "score is missing; sco is not declared"),
    ],
)
def test_a_function_that_returns_something_else_is_told_what(lake: Lake, returned: Any, words: str):
    (event,) = run(lake, returned).get_step_failure_events()
    shown = event.step_failure_data.user_failure_data
    assert shown is not None and words in (shown.description or "")
    assert lake.tables() == []
