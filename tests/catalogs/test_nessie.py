"""A real Nessie over a real S3 server: its Iceberg tables follow the lake, and readers that know only the catalog agree."""

from __future__ import annotations

import os
from collections.abc import Iterator

import dagster as dg
import pytest

from asgard_assets.catalogs.branches import AuditedCatalog, Nessie
from asgard_assets.catalogs.iceberg import IcebergCatalog
from asgard_assets.catalogs.registration import catalog_of, opened, standings
from asgard_assets.components.catalogs import catalog_asset, catalog_sensor
from asgard_assets.errors import CatalogError
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
            Nessie({"uri": address}).make("fresh")  # of a server that has no commit yet
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
        done = dg.materialize([catalog_asset("iceberg")], resources=resources, instance=instance)
        assert done.success
        assert agree(server, lake, catalog) == len(by_delta(lake))
        assert not sensor.evaluate_tick(dg.build_sensor_context(instance)).run_requests
    assert all(each.current for each in standings(lake, "iceberg", ("gold/*",)))


def test_two_gateways_to_one_catalog_follow_at_once(server: S3, lake: Lake):
    from concurrent.futures import ThreadPoolExecutor

    publish(lake, DAYS[:1], [row(n, DAYS[0]) for n in range(7)])
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: catalog_of(Settings(), lake).follow(lake, TABLE), range(2)))
    assert {each.version for each in done} == {lake.version(*TABLE.split("/"))}
    assert agree(server, lake, catalog_of(Settings(), lake)) == len(by_delta(lake))


@pytest.fixture
def audited(lake: Lake) -> Iterator[AuditedCatalog]:
    found = opened(Settings(iceberg_audit="audit"), lake, "iceberg")
    assert isinstance(found, AuditedCatalog)
    yield found
    found.nessie.remove(found.branch(TABLE))


def test_a_table_is_audited_on_a_branch_and_merged(server: S3, lake: Lake, audited: AuditedCatalog):
    publish(lake, DAYS[:1], [row(n, DAYS[0]) for n in range(6)])
    done = audited.follow(lake, TABLE)
    assert done.version == lake.version(*TABLE.split("/"))
    assert audited.nessie.hash(audited.branch(TABLE)) is None
    assert agree(server, lake, audited.main) == len(by_delta(lake))
    assert audited.follow(lake, TABLE).done == "current"
    publish(lake, DAYS[1:2], [row(n, DAYS[1]) for n in range(2)])
    assert audited.follow(lake, TABLE).done == "followed"
    assert agree(server, lake, audited.main) == len(by_delta(lake))


def test_the_first_table_of_a_new_server_is_merged_too(lake: Lake):
    publish(lake, DAYS[:1], [row(n, DAYS[0]) for n in range(6)])
    address = f"{os.environ['ASGARD_ICEBERG']}/fresh"
    fresh = opened(Settings(iceberg=address, iceberg_audit="first"), lake, "iceberg")
    assert fresh.follow(lake, TABLE).version == lake.version(*TABLE.split("/")) == fresh.version(TABLE)
    lake.delete(f"_catalogs/iceberg/{TABLE}.json")


def test_by_hand_it_waits_on_its_branch_where_readers_of_iceberg_see_it(
    server: S3, lake: Lake, audited: AuditedCatalog
):
    waiting = AuditedCatalog(audited.main, "audit", by_hand=True)
    audited.follow(lake, TABLE)
    before = by_delta(lake)
    publish(lake, DAYS[:1], [row(n, DAYS[0], note="waits") for n in range(3)], {"note": _text()})
    done = waiting.follow(lake, TABLE)
    assert (done.done, done.held) == ("held", lake.version(*TABLE.split("/")))
    assert by_pyiceberg(waiting.main.opened) == before
    assert by_pyiceberg(waiting.on_branch(TABLE).opened) == by_delta(lake)
    (stands,) = standings(lake, "iceberg", (TABLE,))
    assert stands.current and stands.held == stands.lake_version > stands.catalog_version
    publish(lake, DAYS[1:2], [row(1, DAYS[1], note="too")], {"note": _text()})
    assert waiting.follow(lake, TABLE).held == lake.version(*TABLE.split("/"))  # on the same branch
    assert by_pyiceberg(waiting.main.opened) == before
    assert waiting.publish(lake, TABLE).version == lake.version(*TABLE.split("/"))
    assert agree(server, lake, waiting.main) == len(by_delta(lake))
    assert waiting.nessie.hash(waiting.branch(TABLE)) is None


def test_what_differs_on_the_branch_is_not_merged(server: S3, lake: Lake, audited: AuditedCatalog):
    from pyiceberg.expressions import EqualTo

    audited.follow(lake, TABLE)
    before = by_pyiceberg(audited.main.opened)
    publish(lake, DAYS[:1], [row(n, DAYS[0]) for n in range(9)])
    AuditedCatalog(audited.main, "audit", by_hand=True).follow(lake, TABLE)
    spoilt = audited.on_branch(TABLE).load(TABLE)
    assert spoilt is not None
    spoilt.delete(EqualTo("id", 4))  # pyright: ignore[reportCallIssue]
    with pytest.raises(CatalogError, match="the audit failed. Branch audit.gold.orders has 8 rows .* has 9"):
        audited.follow(lake, TABLE)
    assert by_pyiceberg(audited.main.opened) == before
    audited.nessie.remove(audited.branch(TABLE))
    assert audited.follow(lake, TABLE).version == lake.version(*TABLE.split("/"))
    assert agree(server, lake, audited.main) == len(by_delta(lake))


def test_a_table_that_others_changed_meanwhile_is_written_again(
    server: S3, lake: Lake, audited: AuditedCatalog
):
    audited.follow(lake, TABLE)
    publish(lake, DAYS[:1], [row(n, DAYS[0]) for n in range(4)])
    AuditedCatalog(audited.main, "audit", by_hand=True).follow(lake, TABLE)
    publish(lake, DAYS[1:2], [row(n, DAYS[1]) for n in range(5)])
    audited.main.brought(lake, TABLE)  # into the main branch, past the other
    publish(lake, DAYS[2:], [row(n, DAYS[2]) for n in range(2)])
    assert audited.follow(lake, TABLE).version == lake.version(*TABLE.split("/"))
    assert agree(server, lake, audited.main) == len(by_delta(lake))


def test_two_audits_at_once_and_a_dropped_table(server: S3, lake: Lake, audited: AuditedCatalog):
    from concurrent.futures import ThreadPoolExecutor

    from asgard_assets.lake.changes.copying import remove

    publish(lake, DAYS[:1], [row(n, DAYS[0]) for n in range(7)])
    with ThreadPoolExecutor(2) as pool:
        done = list(
            pool.map(
                lambda _: opened(Settings(iceberg_audit="audit"), lake, "iceberg").follow(lake, TABLE),
                range(2),
            )
        )
    assert {each.version for each in done} == {lake.version(*TABLE.split("/"))}
    assert agree(server, lake, audited.main) == len(by_delta(lake))
    remove(lake, TABLE)
    assert audited.follow(lake, TABLE).done == "dropped"
    assert audited.main.load(TABLE) is None and audited.follow(lake, TABLE).done == "absent"


def _text():
    import pyarrow as pa

    return pa.string()
