"""A real Nessie over a real S3 server: its Iceberg tables follow the lake, and readers that know only the catalog agree."""

from __future__ import annotations

import os
from collections.abc import Iterator

import dagster as dg
import pytest

from asgard_assets.catalogs.iceberg import IcebergCatalog
from asgard_assets.catalogs.registration import catalog_of, standings
from asgard_assets.components.catalogs import catalog_sensor, iceberg_catalog
from asgard_assets.lake import Lake
from asgard_assets.resources.lake import LakeResource
from asgard_assets.settings import Settings
from tests.catalogs.readers import DAYS, TABLE, by_delta, by_duckdb, by_pyiceberg, publish, row
from tests.servers.nessie import nessie
from tests.servers.s3 import S3, s3

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    folder = tmp_path_factory.mktemp("servers")
    with s3(folder / "s3", "lake") as found:
        before = {name: os.environ.get(name) for name in found.environment}
        os.environ.update(found.environment)
        with nessie(folder / "nessie", found, "s3://lake/iceberg") as address:
            os.environ["ASGARD_ICEBERG"] = address
            yield found
        del os.environ["ASGARD_ICEBERG"]
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@pytest.fixture(scope="module")
def lake(server: S3) -> Lake:
    return Lake("s3://lake/delta", server.endpoint, server.region)


@pytest.fixture
def catalog(lake: Lake) -> IcebergCatalog:
    return catalog_of(Settings(), lake)


def agree(server: S3, lake: Lake, catalog: IcebergCatalog) -> int:
    """The Delta table by delta-rs; the Iceberg table by pyiceberg, and by DuckDB through the catalog."""
    expected = by_delta(lake)
    assert by_pyiceberg(catalog.opened) == expected
    secret = (
        f"create secret (type s3, key_id '{server.access_key}', secret '{server.secret_key}', url_style 'path', "
        f"region '{server.region}', endpoint '{server.endpoint.removeprefix('http://')}', use_ssl false)"
    )
    attach = (
        f"attach 'lake' as lake (type iceberg, endpoint '{os.environ['ASGARD_ICEBERG']}', "
        "authorization_type 'none', access_delegation_mode 'none')"
    )
    assert by_duckdb((secret, attach), "lake.gold.orders") == expected
    return len(expected)


def test_readers_of_the_catalog_see_what_the_lake_has(server: S3, lake: Lake, catalog: IcebergCatalog):
    publish(lake, DAYS[:2], [row(n, day) for day in DAYS[:2] for n in range(20)])
    assert catalog.follow(lake, TABLE).done == "copied"
    assert agree(server, lake, catalog) == 40
    publish(lake, DAYS[1:], [row(n, day, note="x") for day in DAYS[1:] for n in range(3)], {"note": _text()})
    assert catalog.follow(lake, TABLE).done == "copied"  # this Nessie takes no new columns
    assert agree(server, lake, catalog) == 26
    publish(lake, DAYS[:1], [row(1, DAYS[0])])
    assert catalog.follow(lake, TABLE).done == "followed"
    assert agree(server, lake, catalog) == 7


def test_what_is_published_follows_by_the_sensor_and_a_second_run_does_nothing(
    server: S3, lake: Lake, catalog: IcebergCatalog, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ASGARD_LAKE", lake.root)
    publish(lake, DAYS[:1], [row(n, DAYS[0]) for n in range(5)])
    now = 1e9
    sensor = catalog_sensor(lambda: now)
    with dg.DagsterInstance.ephemeral() as instance:
        asked = sensor.evaluate_tick(dg.build_sensor_context(instance)).run_requests
        assert len(asked or []) == 1
        assert (
            asked == sensor.evaluate_tick(dg.build_sensor_context(instance)).run_requests
        )  # one run, asked twice
        resources = {"lake": LakeResource(root=lake.root, endpoint=server.endpoint, region=server.region)}
        done = dg.materialize([iceberg_catalog], resources=resources, instance=instance)
        assert done.success
        assert agree(server, lake, catalog) == len(by_delta(lake))
        assert not sensor.evaluate_tick(dg.build_sensor_context(instance)).run_requests
    assert all(each.current for each in standings(lake, ("gold/*",)))


def test_two_gateways_to_one_catalog_follow_at_once(server: S3, lake: Lake):
    from concurrent.futures import ThreadPoolExecutor

    publish(lake, DAYS[:1], [row(n, DAYS[0]) for n in range(7)])
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: catalog_of(Settings(), lake).follow(lake, TABLE), range(2)))
    assert {each.version for each in done} == {lake.version(*TABLE.split("/"))}
    assert agree(server, lake, catalog_of(Settings(), lake)) == len(by_delta(lake))


def _text():
    import pyarrow as pa

    return pa.string()
