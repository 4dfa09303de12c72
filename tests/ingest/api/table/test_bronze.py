import asyncio

import pyarrow.parquet as pq

from asgard_assets.ingest.api.table.bronze import ResultFiles, arrow_schema, table_spec
from tests.ingest.api.sources import TICKETS, USAGE, source

DAY = "2026-10-05"


def files(lake, **execution):
    config = source(USAGE, execution=execution)
    staging = lake.stage("bronze", "usage", arrow_schema(config), [DAY])
    return ResultFiles(config, lake, staging.path, staging.schema, "0-0"), staging


def add(results, count, size=10):
    async def run():
        for n in range(count):
            if results.put(DAY, {"request_id": str(n), "user_id": n}, size):
                await results.flush_full()

    asyncio.run(run())


def test_a_file_is_written_when_its_rows_are_many(lake):
    results, staging = files(lake, flush_rows=20)
    add(results, 25)
    assert len(results.written) == 2
    asyncio.run(results.flush())
    uris = lake.staged_files(staging)[DAY]
    assert sorted(pq.read_metadata(uri).num_rows for uri in uris) == [5, 10, 10]
    assert {uri[len(staging.path) + 1 :] for uri in uris} == set(results.written)


def test_a_file_is_written_when_its_bytes_are_many(lake):
    results, _ = files(lake, flush_bytes=200)
    add(results, 4, size=30)
    assert len(results.written) == 1


def test_only_what_waits_too_long_is_written_early(lake):
    young, _ = files(lake, flush_seconds=60)
    old, _ = files(lake, flush_seconds=1e-9)
    for results in (young, old):
        add(results, 1)
        asyncio.run(results.flush_old())
    assert (young.written, len(old.written)) == ([], 1)


def test_one_failed_page_blocks_a_day_but_one_failed_row_does_not():
    rows, pages = (
        {check.name: check.sql for check in table_spec(source(base)).checks} for base in (USAGE, TICKETS)
    )
    assert rows["success_rate"].endswith(">= 0.1 * count(*)")
    assert pages["success_rate"].endswith(">= 1.0 * count(*)")
