"""API sources as Dagster assets, loaded from YAML as a team writes it."""

from __future__ import annotations

import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox

from asgard_assets.components.api import ApiIngest, ApiIngestModel, api_asset
from asgard_assets.lake import Lake
from asgard_assets.resources.lake import LakeResource
from asgard_assets.resources.spark import SparkResource
from tests.checkout import ROOT
from tests.fakes.rest_api import TOKEN, serving
from tests.ingest.api.sources import USAGE, put_users, source

KEY = dg.AssetKey(["bronze", "usage"])
RESOURCES = {
    "lake": LakeResource(root="unused"),
    "spark": SparkResource(),
    "step_launcher": dg.ResourceDefinition.none_resource(),
}


@contextmanager
def loaded(attributes: dict) -> Iterator[dg.Definitions]:
    """The definitions of one component instance, from a `defs.yaml` on disk."""
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(ApiIngest, "usage")
        text = {"type": "asgard_assets.components.api.ApiIngest", "attributes": attributes}
        (path / "defs.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
        with sandbox.load_component_and_build_defs(path) as (_, defs):
            yield dg.Definitions.merge(defs, dg.Definitions(resources=RESOURCES))


def materialize(asset, lake: Lake, instance, raise_on_error=True, **how):
    resources = RESOURCES | {"lake": LakeResource(root=lake.root)}
    return dg.materialize(
        [asset], resources=resources, instance=instance, raise_on_error=raise_on_error, **how
    )


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def api(monkeypatch):
    with serving() as server:
        monkeypatch.setenv("TEST_API", server.url)
        monkeypatch.setenv("TEST_TOKEN", TOKEN)
        yield server


def test_a_source_is_an_asset_with_all_that_the_catalog_shows():
    with loaded({"source": USAGE, "automation": "on_upstream_change"}) as defs:
        asset = defs.resolve_assets_def(KEY)
        spec = asset.get_asset_spec(KEY)
    assert [dep.asset_key for dep in spec.deps] == [dg.AssetKey(["bronze", "users"])]
    assert spec.kinds == {"api", "spark", "delta"}
    assert spec.owners and spec.description and spec.automation_condition and spec.freshness_policy
    assert {"request_id", "user_id", "body", "ds"} <= {
        c.name for c in spec.metadata["dagster/column_schema"].columns
    }
    assert {c.name: c.blocking for c in asset.check_specs} == {
        "key_is_unique": True,
        "success_rate": True,
        "success_rate_is_usual": False,
    }
    assert asset.backfill_policy == dg.BackfillPolicy.single_run()
    assert asset.op.pool == "api:usage"
    assert {"lake", "spark", "step_launcher"} <= asset.required_resource_keys


def test_a_typo_fails_at_load_with_file_and_line():
    with pytest.raises(Exception) as caught:  # noqa: B017, PT011  Dagster's own, several layers of it
        with loaded({"source": USAGE | {"retrys": {"attempts": 1}}}):
            pass
    said = "".join(traceback.format_exception(caught.value))
    assert re.search(r"defs\.yaml:\d+", said)
    assert "retrys" in said
    assert "Extra inputs are not permitted" in said


def test_loading_a_source_imports_no_client_and_no_spark():
    code = (
        "import sys, asgard_assets.components.api;"
        "sys.exit(', '.join({'pyspark', 'aiohttp', 'duckdb', 'pyarrow', 'deltalake'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_one_day_and_a_range_have_counts_of_their_own(spark, lake, api, instance):
    put_users(lake, 10)
    put_users(lake, 12, "2026-10-07")
    api.status = {4: [404] * 9}
    asset = api_asset(ApiIngestModel(source=source(USAGE)))
    one = materialize(asset, lake, instance, partition_key="2026-10-05")
    event = one.asset_materializations_for_node("api_usage")[0]
    assert event.metadata["requests"].value == 10
    assert event.metadata["rows_success"].value == 9
    assert '| 2026-10-05 | {"user_id":4} | permanent | 404 |' in event.metadata["failed_requests"].value
    assert "| 127.0.0.1:" in event.metadata["slowest_hosts"].value

    result = materialize(
        asset,
        lake,
        instance,
        tags={
            "dagster/asset_partition_range_start": "2026-10-05",
            "dagster/asset_partition_range_end": "2026-10-07",
        },
    )
    events = {e.partition: e.metadata for e in result.asset_materializations_for_node("api_usage")}
    assert {day: m["dagster/partition_row_count"].value for day, m in events.items()} == {
        "2026-10-05": 10,
        "2026-10-06": 10,
        "2026-10-07": 12,
    }
    assert {day: m["mode"].value for day, m in events.items()} == {
        "2026-10-05": "refresh",
        "2026-10-06": "first",
        "2026-10-07": "first",
    }
    checks = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    assert checks == {"key_is_unique": True, "success_rate": True, "success_rate_is_usual": False}


def test_an_unreachable_api_is_a_failure_that_says_what_to_do(spark, lake, instance, monkeypatch):
    put_users(lake, 3)
    monkeypatch.setenv("TEST_API", "http://127.0.0.1:9")
    monkeypatch.setenv("TEST_TOKEN", TOKEN)
    asset = api_asset(ApiIngestModel(source=source(USAGE), retries=0))
    result = materialize(asset, lake, instance, raise_on_error=False, partition_key="2026-10-05")
    assert not result.success
    failure = result.failure_data_for_node("api_usage")
    assert (
        "http://127.0.0.1:9 refused the connection; is the API up?" in failure.user_failure_data.description
    )


def test_a_missing_upstream_is_a_failure_that_is_not_tried_again(spark, lake, instance, monkeypatch):
    monkeypatch.setenv("TEST_API", "http://127.0.0.1:9")
    monkeypatch.setenv("TEST_TOKEN", TOKEN)
    asset = api_asset(ApiIngestModel(source=source(USAGE)))
    result = materialize(asset, lake, instance, raise_on_error=False, partition_key="2026-10-05")
    failure = result.failure_data_for_node("api_usage")
    assert "materialize bronze/users first" in failure.user_failure_data.description
    assert not [e for e in result.all_events if e.is_step_up_for_retry]


def test_a_secret_that_was_written_into_yaml_is_not_repeated_in_the_error():
    secret = "sk-live-4711-0815"
    with pytest.raises(Exception) as caught:  # noqa: B017, PT011
        with loaded({"source": USAGE | {"auth": {"type": "bearer", "token": secret}}}):
            pass
    said = "".join(traceback.format_exception(caught.value))
    assert re.search(r"defs\.yaml:\d+", said)
    assert secret not in said


def test_a_snapshot_is_asked_for_today_and_a_cursor_goes_one_day_at_a_time():
    pull = {"type": "pull", "items": "data"}
    endpoint = {"base_url": "${TEST_API}", "path": "/v1/tickets"}
    snapshot = api_asset(ApiIngestModel(source=source(USAGE, kind="snapshot", form=pull, endpoint=endpoint)))
    assert snapshot.partitions_def.end_offset == 1
    changes = source(USAGE, kind="changes", form=pull | {"incremental": {"field": "at"}}, endpoint=endpoint)
    assert api_asset(ApiIngestModel(source=changes)).backfill_policy == dg.BackfillPolicy.multi_run(1)
