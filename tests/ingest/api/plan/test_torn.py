"""What a kill cut short is asked for again: no later run of the day fails because of it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asgard_assets.ingest.api.plan.resume import announce, earlier_runs, usable_files
from asgard_assets.ingest.api.plan.run import Run
from asgard_assets.ingest.api.table.bronze import arrow_schema
from asgard_assets.ingest.api.table.postprocess import known_schema
from asgard_assets.lake import DS, Lake, Staging
from tests.ingest.api.sources import TICKETS, source

DAY = "2026-10-05"


def killed_run(lake: Lake) -> tuple[Staging, Path]:
    """A run that left one whole file; the folder of the day."""
    config = source(TICKETS)
    staging = lake.stage("bronze", "tickets", arrow_schema(config), [DAY])
    announce(Run(lake, config, (DAY,), run_id="first"), staging, {DAY: 1})
    folder = Path(staging.path, f"{DS}={DAY}")
    folder.mkdir()
    rows = pa.Table.from_pylist([], staging.schema.remove(staging.schema.get_field_index(DS)))
    pq.write_table(rows, folder / "part-whole.parquet")
    return staging, folder


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", ["part-00000-x.parquet", "part-left.parquet", "part-distinct-x.parquet"])
def test_a_torn_file_is_not_taken_over_and_whole_ones_are(lake: Lake, name: str, share: float):
    _, folder = killed_run(lake)
    whole = (folder / "part-whole.parquet").read_bytes()
    (folder / name).write_bytes(whole[: int(len(whole) * share)])
    config = source(TICKETS)
    second = lake.stage("bronze", "tickets", arrow_schema(config), [DAY])
    earlier = earlier_runs(Run(lake, config, (DAY,), run_id="second"), second)
    found = usable_files(lake, second, earlier, DAY, 1)
    assert [Path(uri).name for uri in found] == ["part-whole.parquet"]


@pytest.mark.parametrize("text", ["", '{"a": "big'])
def test_a_payload_schema_that_was_cut_short_is_told_again(lake: Lake, text: str):
    config = source(TICKETS, sink={"table": "bronze/tickets", "payload": {"type": "struct"}})
    place = Path(lake.root, "_schemas", "bronze", "tickets.json")
    place.parent.mkdir(parents=True)
    place.write_text(text)
    assert known_schema(lake, config) is None
