"""Light SQL on the way in: what may be said, and what it makes of files that are not all alike."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.ingest.files.bench import DAYS, Bench

LINES = '{"a": 1, "b": "x", "n": {"p": 5}, "l": [1, 2]}\n{"a": 2, "b": "y", "n": {"p": 6}, "l": [3]}\n'


def loaded(lake: Lake, settings: Settings, sql: str, content: str = LINES, **how: Any) -> Bench:
    bench = Bench(None, lake, settings, sql=sql, **({"types": "inferred"} | how))
    bench.drop(DAYS[0], "a.jsonl", content)
    bench.run(DAYS[:1])
    return bench


@pytest.mark.parametrize(
    ("sql", "shown", "rows"),
    [
        ("select a + 1 as b2, b2 * 2 as c from files where c > 4", "b2, c", [(3, 6)]),
        ("select upper(b) as u, u || '!' as v from files", "u, v", [("X", "X!"), ("Y", "Y!")]),
        ("select coalesce(gone, b) as gone, gone as was from files", "gone", [("x",), ("y",)]),
        ("select *, list_transform(l, y -> y + 1) as m from files", "a, m", [(1, [2, 3]), (2, [4])]),
        ("select n.p as p, files.a from files", "p, a", [(5, 1), (6, 2)]),
        ("select files.* from files where _row = 1", "a, b, _row", [(2, "y", 1)]),
        ("select columns('a|b') from files", "a, b", [(1, "x"), (2, "y")]),
        ("select a, gone * 2 as g from files", "a", [(1,), (2,)]),
    ],
)
def test_a_statement_makes_what_duckdb_would(
    lake: Lake, settings: Settings, sql: str, shown: str, rows: list[tuple]
) -> None:
    assert loaded(lake, settings, sql).rows(shown, "_row") == rows


def test_a_file_whose_column_is_empty_fits_as_others_do(lake: Lake, settings: Settings) -> None:
    bench = loaded(lake, settings, "select id, amount * 2 as twice from files", '{"id": 1, "amount": null}\n')
    bench.drop(DAYS[0], "b.jsonl", '{"id": 2, "amount": 3}\n')
    bench.run(DAYS[:1])
    assert bench.rows("id, twice", "id") == [(1, None), (2, 6)]


def test_a_files_own_row_and_rescued_columns_are_rescued(lake: Lake, settings: Settings) -> None:
    bench = loaded(lake, settings, "select * from files", '{"a": 1, "_row": 7, "_rescued_data": "r"}\n')
    assert bench.rows("a, _row, _rescued_data") == [(1, 0, '{"_row": 7, "_rescued_data": "r"}')]


@pytest.mark.parametrize("name", ["ds", "_row", "_FILE", "_metadata", "_rescued_data"])
def test_a_statement_must_not_make_what_the_loader_adds(name: str) -> None:
    about = {"name": "s", "path": "s", "ds": {"type": "folder"}, "description": "d"}
    with pytest.raises(ValidationError, match=f"makes {name}, which the loader adds itself"):
        FileSource.model_validate(about | {"sql": f"select *, '2020-01-01' as {name} from files"})
    by_column = about | {"ds": {"type": "column", "name": "ds"}, "sql": "select *, day as ds from files"}
    assert FileSource.model_validate(by_column).sql


def test_a_mistake_is_told_without_colours_and_without_what_was_added(lake: Lake, settings: Settings) -> None:
    about = {"name": "s", "path": "s", "ds": {"type": "folder"}, "description": "d"}
    with pytest.raises(ValidationError, match="is no SQL that DuckDB reads") as raised:
        FileSource.model_validate(about | {"sql": "selec a from files"})
    assert "\x1b" not in str(raised.value)
    bench = Bench(None, lake, settings, sql="select cast(b as int) as c from files")
    bench.drop(DAYS[0], "a.jsonl", LINES)
    [reason] = bench.stage(DAYS[:1]).failed.values()
    assert "a.jsonl: `sql` does not fit: Conversion Error: Could not convert string 'x'" in reason
    assert "LINE" not in reason
