"""What the sensor asks for, what a tick costs, and what a catalog that is down does to a run."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.catalogs.hive import HiveMetastore
from asgard_assets.catalogs.receipts import Followed, note
from asgard_assets.components.catalogs import catalog_asset, catalog_sensor, catalogs
from asgard_assets.lake import Lake
from asgard_assets.lake.changes.copying import remove
from asgard_assets.resources.lake import LakeResource
from tests.catalogs.readers import DAYS, publish, row
from tests.servers.s3 import s3
from tests.servers.s3_faults import faulty

SCHEMA = pa.schema([("id", pa.int64())])
TABLES = 30
ADDRESS = "thrift://metastore:9083"  # which no tick asks


def whole(lake: Lake, name: str, number: int = 0) -> None:
    staging = lake.stage("gold", name, SCHEMA)
    lake.write(staging, pa.table({"id": [number]}, SCHEMA))
    lake.publish(staging)


def done(lake: Lake, name: str) -> None:
    """As a sync leaves its receipt."""
    catalog = HiveMetastore(ADDRESS)
    note(lake, catalog, Followed(f"gold/{name}", "registered", lake.version("gold", name)))


def test_without_a_catalog_there_is_nothing(monkeypatch: pytest.MonkeyPatch):
    assert not catalogs().assets and not catalogs().sensors
    monkeypatch.setenv("ASGARD_HIVE_METASTORE", "thrift://metastore:9083")
    monkeypatch.setenv("ASGARD_ICEBERG", "sqlite:///c.db")
    keys = [key.to_user_string() for each in catalogs().assets or [] for key in each.keys]  # pyright: ignore
    assert keys == ["catalog/iceberg", "catalog/hive"]


def test_a_catalog_that_is_down_costs_a_warning_and_a_later_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ASGARD_LAKE", str(tmp_path / "lake"))
    lake = Lake(str(tmp_path / "lake"))
    publish(lake, DAYS[:1], [row(1, DAYS[0])])
    resources = {"lake": LakeResource(root=lake.root)}
    now = [1e9]
    with dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setenv("ASGARD_ICEBERG", "http://127.0.0.1:1/iceberg")
        sensor = catalog_sensor(lambda: now[0])
        first = sensor.evaluate_tick(dg.build_sensor_context(instance))
        ran = dg.materialize([catalog_asset("iceberg")], resources=resources, instance=instance)
        (check,) = ran.get_asset_check_evaluations()
        assert ran.success and not check.passed and check.severity is dg.AssetCheckSeverity.WARN
        assert "Iceberg catalog: gold/orders cannot follow" in json.dumps(str(check.metadata))
        now[0] += 600
        again = sensor.evaluate_tick(dg.build_sensor_context(instance, cursor=first.cursor))
        assert [each.run_key for each in again.run_requests or []] != [
            each.run_key for each in first.run_requests or []
        ]
        monkeypatch.setenv("ASGARD_ICEBERG", f"sqlite:///{tmp_path}/c.db")
        ran = dg.materialize([catalog_asset("iceberg")], resources=resources, instance=instance)
        assert [each.passed for each in ran.get_asset_check_evaluations()] == [True]
        last = sensor.evaluate_tick(dg.build_sensor_context(instance, cursor=again.cursor))
        assert not last.run_requests
        monkeypatch.setenv("ASGARD_ICEBERG", f"sqlite:///{tmp_path}/another.db")
        assert sensor.evaluate_tick(dg.build_sensor_context(instance, cursor=last.cursor)).run_requests


@pytest.mark.servers
def test_a_table_that_did_not_move_costs_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with s3(tmp_path / "s3", "lake") as server, faulty(server.endpoint, seed=1) as (endpoint, counts):
        wanted = {
            "ASGARD_LAKE": "s3://lake",
            "ASGARD_S3_ENDPOINT": endpoint,
            "ASGARD_HIVE_METASTORE": ADDRESS,
        }
        for name, value in (server.environment | wanted).items():
            monkeypatch.setenv(name, value)
        lake = Lake("s3://lake", server.endpoint, server.region)
        tables = [f"t{number:02}" for number in range(TABLES)]
        for name in tables:
            whole(lake, name)
        for name in tables:
            done(lake, name)
        now, cursor, asked, costs = [1e9], None, list[list[str]](), list[int]()
        with dg.DagsterInstance.ephemeral() as instance:
            for tick in range(5):
                if tick == 2:
                    whole(lake, "t07", 1)
                if tick == 3:
                    done(lake, "t07")
                    remove(lake, "gold/t09")
                if tick == 4:
                    done(lake, "t09")
                    now[0] += 3600
                before = counts()["requests"]
                context = dg.build_sensor_context(instance, cursor=cursor)
                found = catalog_sensor(lambda: now[0]).evaluate_tick(context)
                cursor = found.cursor
                costs.append(counts()["requests"] - before)
                asked.append([str(each.run_key).split(":", 2)[2] for each in found.run_requests or []])
    print("requests of ticks:", costs)
    assert asked == [[], [], ["gold/t07@2"], ["gold/t09@-1"], []]
    assert costs[1] <= TABLES + 8 < costs[0]
