"""What a run of a file source reads again when it is told to."""

from pathlib import Path

import dagster as dg
import pytest

from asgard_assets.components.files import file_asset
from asgard_assets.ingest.files.plan.quarantine import quarantined
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.resources.environment import resources
from asgard_assets.settings import Settings

DAY = "2026-10-05"


def source(**changes: object) -> FileSource:
    return FileSource.model_validate(
        {"name": "orders", "path": "orders", "ds": {"type": "folder"}, "description": "Orders."} | changes
    )


def run(one: FileSource, reload: str, **how: object) -> dg.ExecuteInProcessResult:
    config = {"ops": {"files_orders": {"config": {"reload": reload}}}}
    return dg.materialize(
        [file_asset(one)], resources=resources(), partition_key=DAY, run_config=config, **how
    )  # type: ignore[arg-type]


@pytest.mark.servers
def test_after_the_cure_the_quarantine_is_loaded_and_left_empty(spark, lake: Lake, settings: Settings):
    folder = Path(settings.landing_root) / "orders" / f"ds={DAY}"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("id,note\n1,x\n# the rest\n2,y\n")
    run(source(), "changed", raise_on_error=False)
    assert sum(quarantined(lake, "orders")[DAY].values()) > 0
    cured = source(format={"type": "csv", "comment": "#"})
    run(cured, "changed", raise_on_error=False)
    assert quarantined(lake, "orders") != {}  # nothing changed, so nothing was read again
    run(cured, "quarantined", raise_on_error=False)
    assert quarantined(lake, "orders") == {}
    with lake.connect(tables=["bronze/orders"]) as connection:
        rows = connection.execute("select id, note from bronze.orders order by id").fetchall()
    assert rows == [("1", "x"), ("2", "y")]


def test_a_word_that_is_none_of_the_three_starts_no_run(settings: Settings):
    with pytest.raises(dg.DagsterInvalidConfigError, match="everything"):
        run(source(), "everything", raise_on_error=False)
