"""A file source as Dagster sees it: asset, sensor, YAML."""

import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.test_utils import create_run_for_test

from asgard_assets.components.file_sensor import BATCH_TAG, file_sensor
from asgard_assets.components.files import file_asset
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.resources.environment import resources
from asgard_assets.settings import Settings
from asgard_assets.windows import days_between
from tests.checkout import ROOT
from tests.fakes.airbyte import load

DAYS = ["2026-10-05", "2026-10-06", "2026-10-07"]
KEY = dg.AssetKey(["bronze", "orders"])
SOURCE = FileSource.model_validate(
    {"name": "orders", "path": "orders", "ds": {"type": "folder"}, "description": "Orders."}
)
RANGE = {
    "dagster/asset_partition_range_start": DAYS[0],
    "dagster/asset_partition_range_end": DAYS[-1],
}


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def landing(settings: Settings) -> Path:
    folder = Path(settings.landing_root) / "orders"
    folder.mkdir(parents=True)
    return folder


def drop(landing: Path, day: str, content: str, name: str = "a.csv", modified: float | None = None) -> None:
    path = landing / f"ds={day}" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    if modified:
        os.utime(path, (modified, modified))


def materialize(instance: dg.DagsterInstance, **how: Any) -> dg.ExecuteInProcessResult:
    return dg.materialize([file_asset(SOURCE)], resources=resources(), instance=instance, **how)


def tick(instance: dg.DagsterInstance, cursor: str | None = None, **limits: int):
    """One tick as the daemon makes it."""
    sensor = file_sensor(SOURCE, **limits)
    defs = dg.Definitions(assets=[file_asset(SOURCE)], sensors=[sensor], resources=resources())
    context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=defs)
    return sensor.evaluate_tick(context)


def asked(evaluated) -> list[str]:
    return [request.partition_key for request in evaluated.run_requests or []]


def started(instance: dg.DagsterInstance, request: dg.RunRequest, status: dg.DagsterRunStatus) -> None:
    create_run_for_test(
        instance, "job", tags={**request.tags, "dagster/partition": request.partition_key}, status=status
    )


# Asset ---------------------------------------------------------------------------------------------------


def test_a_range_is_one_commit_with_counts_for_each_day(spark, lake: Lake, landing: Path, instance) -> None:
    drop(landing, DAYS[0], "id\n1\n2\n")
    drop(landing, DAYS[1], "id,extra\n3,x\n4\n")
    result = materialize(instance, tags=RANGE)
    assert result.success
    found = {
        event.partition: {k: v.value for k, v in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
    }
    assert [found[day]["dagster/partition_row_count"] for day in DAYS] == [2, 1, 0]
    assert [(found[day]["files"], found[day]["quarantined_rows"]) for day in DAYS] == [(1, 0), (1, 1), (0, 0)]
    assert found[DAYS[0]]["bytes"] == 7
    assert lake.version("bronze", "orders") == 1
    assert tick(instance).skip_message == "every file is loaded"


def test_a_day_with_an_unreadable_file_fails_alone_and_names_it(
    spark, lake: Lake, landing: Path, instance
) -> None:
    drop(landing, DAYS[0], "id\n1\n")
    drop(landing, DAYS[1], "not gzip", "cut.csv.gz")
    result = materialize(instance, tags=RANGE, raise_on_error=False)
    assert not result.success
    failure = result.failure_data_for_node("files_orders")
    assert failure and failure.user_failure_data and "cut.csv.gz" in str(failure)
    assert "schema_diff" in failure.user_failure_data.metadata
    assert sorted(e.partition for e in result.get_asset_materialization_events()) == [DAYS[0], DAYS[2]]
    assert asked(tick(instance)) == [DAYS[1]]


# Sensor --------------------------------------------------------------------------------------------------


def test_many_files_of_a_day_ask_for_one_run(landing: Path, instance) -> None:
    for number in range(20):
        drop(landing, DAYS[number % 2], "id\n1\n", f"{number}.csv")
    assert asked(tick(instance)) == DAYS[:2]


def test_a_batch_in_progress_is_not_asked_for_again(landing: Path, instance) -> None:
    drop(landing, DAYS[0], "id\n1\n")
    [request] = tick(instance).run_requests
    assert request.run_key == tick(instance).run_requests[0].run_key
    started(instance, request, dg.DagsterRunStatus.STARTED)
    assert asked(tick(instance)) == []
    drop(landing, DAYS[1], "id\n1\n")
    assert asked(tick(instance)) == [DAYS[1]]


def test_a_failed_batch_stays_visible_and_waits_for_a_change(landing: Path, instance) -> None:
    drop(landing, DAYS[0], "id\n1\n", modified=1.9e9)
    [request] = tick(instance).run_requests
    started(instance, request, dg.DagsterRunStatus.FAILURE)
    again = tick(instance)
    assert asked(again) == []
    assert "ended FAILURE" in again.skip_message
    drop(landing, DAYS[0], "id\n1\n", modified=2e9)
    [changed] = tick(instance).run_requests
    assert changed.run_key != request.run_key
    assert changed.tags[BATCH_TAG] != request.tags[BATCH_TAG]


def test_days_in_the_hands_of_another_run_are_left_to_it(landing: Path, instance) -> None:
    for day in [*DAYS, "2026-10-08"]:
        drop(landing, day, "id\n1\n")
    create_run_for_test(
        instance, "job", tags=RANGE, asset_selection=frozenset([KEY]), status=dg.DagsterRunStatus.STARTED
    )
    assert asked(tick(instance)) == ["2026-10-08"]


def test_a_tick_asks_for_a_bounded_number_of_runs(landing: Path, instance) -> None:
    for day in range(5, 25):
        drop(landing, f"2026-10-{day:02}", "id\n1\n")
    assert len(asked(tick(instance, runs_per_tick=10))) == 10


def test_three_hundred_days_of_new_files_share_a_few_runs(landing: Path, instance, monkeypatch) -> None:
    monkeypatch.setenv("ASGARD_PARTITION_START", "2025-12-01")
    days = [day for day in days_between("2025-12-10", "2026-10-06") if day != "2026-03-03"]
    for day in days:
        drop(landing, day, "id\n1\n")
    requests = tick(instance).run_requests
    ends = [
        (r.tags["dagster/asset_partition_range_start"], r.tags["dagster/asset_partition_range_end"])
        for r in requests
    ]
    assert ends == [
        ("2025-12-10", "2026-03-02"), ("2026-03-04", "2026-06-11"), ("2026-06-12", "2026-09-19"), ("2026-09-20", "2026-10-06")
    ]  # fmt: skip
    assert sum(int(request.tags["asgard/files"]) for request in requests) == len(days) == 300
    assert [r.run_key for r in tick(instance).run_requests] == [r.run_key for r in requests]
    # One of these runs fails: its days are then loaded one by one, so that a bad one holds up no other.
    create_run_for_test(
        instance,
        "job",
        tags=requests[-1].tags,
        asset_selection=frozenset([KEY]),
        status=dg.DagsterRunStatus.FAILURE,
    )
    later = tick(instance).run_requests
    assert [r.run_key for r in later[:3]] == [r.run_key for r in requests[:3]]
    assert [r.partition_key for r in later[3:]] == days_between("2026-09-20", "2026-10-06")


def test_files_without_a_partition_are_told(settings: Settings, landing: Path, instance) -> None:
    drop(landing, "2031-01-01", "id\n1\n")
    (landing / "lost.csv").write_text("id\n1\n")
    message = tick(instance).skip_message
    assert "2031-01-01" in message
    assert "orders/lost.csv" in message


def test_a_missing_folder_is_a_reason_and_no_crash(settings: Settings, instance) -> None:
    assert "does not exist" in tick(instance).skip_message


def test_a_sensor_imports_no_spark() -> None:
    import subprocess
    import sys

    code = "import sys, asgard_assets.components.files; assert 'pyspark' not in sys.modules and 'deltalake' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# YAML ----------------------------------------------------------------------------------------------------


def written(tmp_path: Path, **changes: Any) -> Path:
    attributes = {"name": "orders", "path": "orders", "ds": {"type": "folder"}, "description": "d"} | changes
    content = {"type": "asgard_assets.components.files.FileIngest", "attributes": attributes}
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "defs.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tmp_path / "orders"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"schemamode": "rescue"}, "schemamode"),
        ({"schema_mode": "addColumns"}, "schema_mode"),
        ({"ds": {"type": "folder", "nmae": "ds"}}, "nmae"),
        ({"path": "../etc"}, "under the landing root"),
        ({"columns": {"id": {"type": "numbr"}}}, "is no type"),
        ({"format": {"type": "csv", "delimeter": ";"}}, "delimeter"),
        ({"format": {"type": "csv", "header": False}}, "needs `names`"),
        ({"format": {"type": "csv", "names": ["id"]}}, "files without a header"),
        ({"format": {"type": "csv", "quote": ",", "delimiter": ","}}, "different characters"),
        ({"format": {"type": "csv", "delimiter": "¦"}}, "no ASCII character"),
        ({"format": {"type": "csv", "delimiter": "||"}}, "delimiter"),
        ({"format": {"type": "csv", "encoding": "utf-99"}}, "utf-99"),
        ({"format": {"type": "text", "encoding": "hex"}}, "hex"),
        ({"format": {"type": "json", "layout": "line"}}, "layout"),
        ({"format": {"type": "json", "delimiter": ","}}, "delimiter"),
        ({"format": {"type": "parquet", "header": True}}, "header"),
        ({"format": {"type": "avro", "codec": "null"}}, "codec"),
        ({"format": {"type": "orc", "encoding": "utf8"}}, "encoding"),
        ({"format": {"type": "text", "whole": "perhaps"}}, "whole"),
        ({"format": {"type": "binary", "whole": True}}, "whole"),
        ({"format": {"type": "xml"}}, "row_tag"),
        ({"format": {"type": "pdf"}}, "pdf"),
        ({"compression": "snappy"}, "compression"),
        ({"sql": "select count(*) from files"}, "an aggregate"),
        ({"sql": "select * from read_csv('x')"}, "must read from `files`"),
        ({"write": {"type": "upsert", "key": []}}, "key"),
    ],
)
def test_a_mistake_in_yaml_fails_at_load_with_file_and_line(tmp_path: Path, changes: dict, word: str) -> None:
    folder = written(tmp_path, **changes)
    with pytest.raises(Exception) as error:  # noqa: B017, PT011
        load(folder)
    assert word in str(error.value.__cause__)
    assert "defs.yaml:" in str(error.value.__cause__)


def test_every_file_source_of_the_project_loads_with_its_contract() -> None:
    folders = sorted((ROOT / "asgard_assets/defs/bronze/files").glob("*/defs.yaml"))
    sources = [FileSource.model_validate(yaml.safe_load(f.read_text())["attributes"]) for f in folders]
    assert [s.name for s in sources] == ["contacts", "invoices", "products", "purchases", "users"]
    for source in sources:
        assert source.owners and source.kinds and source.tags and source.columns
        assert [list(d) for d in source.deps] == (
            [["airbyte", source.name]] if "airbyte" in source.kinds else []
        )
