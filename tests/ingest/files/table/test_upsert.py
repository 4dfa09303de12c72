"""Keyed upsert over files that lack the key, the order, or everything."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from asgard_assets.errors import SourceError
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.ingest.files.bench import DAYS, Bench

pytestmark = pytest.mark.slow


def upserting(lake: Lake, settings: Settings, **write: Any) -> Bench:
    return Bench(None, lake, settings, types="inferred", write={"type": "upsert", "key": ["id"]} | write)


def test_a_record_without_its_key_goes_to_quarantine_and_holds_up_no_other(
    lake: Lake, settings: Settings
) -> None:
    bench = upserting(lake, settings)
    bench.drop(DAYS[0], "a.csv", "id,v\n1,a\n1,b\n")
    bench.run(DAYS[:1])
    bench.drop(DAYS[0], "b.csv", "id,v\n,none\nzz,no number\n2,c\n")
    bench.drop(DAYS[0], "c.jsonl", '{"v": "no key at all"}\n')
    bench.run(DAYS[:1])
    assert bench.rows("id, v", "id") == [(1, "b"), (2, "c")]
    assert bench.quarantined() == [
        ("b.csv", 0, '{"id":null,"v":"none"}'),
        ("b.csv", 1, '{"v":"no number","id":"zz"}'),
        ("c.jsonl", 0, '{"v":"no key at all"}'),
    ]


def test_files_may_lack_what_tells_the_newest_or_become_empty(lake: Lake, settings: Settings) -> None:
    bench = upserting(lake, settings, newest_by=["ts"])
    bench.drop(DAYS[0], "none.csv", "")
    bench.run(DAYS[:1])
    bench.drop(DAYS[0], "a.csv", "id,v,ts\n1,a,5\n2,c,\n")
    bench.run(DAYS[:1])
    bench.drop(DAYS[1], "b.csv", "id,v\n1,without\n3,new\n")
    bench.run(DAYS[:2])
    assert bench.rows("id, v, ts", "id") == [(1, "a", 5), (2, "c", None), (3, "new", None)]
    bench.drop(DAYS[0], "a.csv", "")
    bench.run(DAYS[:2])
    assert bench.rows("id, v", "id") == [(3, "new")]


@pytest.mark.parametrize("wrong", [{"key": ["nope"]}, {"newest_by": ["nope"]}])
def test_a_column_that_nothing_has_is_named(lake: Lake, settings: Settings, wrong: dict) -> None:
    bench = upserting(lake, settings, **wrong)
    bench.drop(DAYS[0], "a.csv", "id,v\n1,a\n")
    with pytest.raises(SourceError, match="`write` names nope, .* there are id, v; correct it in"):
        bench.stage(DAYS[:1])


@pytest.mark.parametrize("name", ["filename", "file_row_number", "_place"])
def test_a_file_may_call_its_columns_as_the_engine_calls_its_own(
    lake: Lake, settings: Settings, name: str
) -> None:
    bench = upserting(lake, settings)
    bench.drop(DAYS[0], "a.jsonl", f'{{"id": 1, "v": 1, "{name}": "x"}}\n{{"id": 2, "v": 1}}\n')
    bench.run(DAYS[:1])
    bench.drop(DAYS[1], "b.csv", "id,v\n2,3\n")
    bench.run(DAYS[1:2])
    assert bench.rows(f'id, v, "{name}"', "id") == [(1, 1, "x"), (2, 3, None)]


def test_numbers_kept_as_text_tell_the_newest_as_numbers(lake: Lake, settings: Settings) -> None:
    write = {"type": "upsert", "key": ["id"], "newest_by": ["v"]}
    bench = Bench(None, lake, settings, write=write)
    bench.drop(DAYS[0], "a.csv", "id,v\n1,10\n1,9\n2,9\n2,\n")
    bench.run(DAYS[:1])
    bench.drop(DAYS[1], "b.csv", "id,v\n1,9.5\n2,10\n")
    bench.run(DAYS[:2])
    assert bench.rows("id, v", "id") == [("1", "10"), ("2", "10")]


def test_a_merge_does_without_columns_that_no_file_has(lake: Lake, settings: Settings) -> None:
    bench = Bench(None, lake, settings, merge={"key": ["id"], "cursor": "v", "deleted": "gone"})
    bench.drop(DAYS[0], "a.jsonl", '{"id": 1, "v": 9}\n{"id": 1, "v": 10}\n{"v": 1}\n{"id": 2, "v": 1}\n')
    bench.run(DAYS[:1])
    bench.drop(DAYS[1], "b.jsonl", '{"id": 1, "v": 2}\n{"id": 2, "v": 5, "gone": "yes"}\n')
    bench.run(DAYS[:2])
    assert bench.rows("id, v", "id nulls first") == [(None, "1"), ("1", "10")]


def test_rescued_records_have_no_key() -> None:
    about = {"name": "s", "path": "s", "ds": {"type": "folder"}, "description": "d", "bad_rows": "rescue"}
    from asgard_assets.ingest.files.source.models import FileSource

    with pytest.raises(ValidationError, match="rows without a key"):
        FileSource.model_validate(about | {"write": {"type": "upsert", "key": ["id"]}})
