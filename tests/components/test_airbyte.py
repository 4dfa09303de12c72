"""Airbyte streams as assets: from the committed snapshot alone, and in step with a server when asked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from asgard_assets.components.airbyte import AirbyteSyncs, refresh_snapshot, snapshot_folders
from asgard_assets.components.airbyte_snapshot import SNAPSHOT, read
from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.resources.airbyte import Workspace
from asgard_assets.resources.environment import resources
from asgard_assets.settings import ROOT
from deployments.local.airbyte.syncs import Syncs
from deployments.local.airbyte.workspace import DEFAULT
from deployments.local.airbyte.workspace import Workspace as Offered
from tests.fakes.airbyte import Fake, load, run, serving, start, write_instance

INSTANCE = ROOT / "asgard_assets" / "defs" / "bronze" / "airbyte"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGARD_AIRBYTE_URL", NOBODY)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


def reason(error: BaseException) -> ConfigError:
    """The ConfigError under what Dagster wraps around it."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, ConfigError):
        found = found.__cause__
    assert isinstance(found, ConfigError)
    return found


@pytest.fixture
def served(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Syncs, Path]]:
    """A server over the fake source with streams users and orders, and an instance with its snapshot."""
    syncs = fake.open({"rows": 4}, streams=("users", "orders"))
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        refresh_snapshot(folder)
        yield syncs, folder


def specs_of(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    """Every asset, by key, with the resources that Bronze tables need."""
    whole = dg.Definitions.merge(definitions, dg.Definitions(resources=resources()))
    return {spec.key.to_user_string(): spec for spec in whole.resolve_all_asset_specs()}


def materialize(folder: Path, *streams: str, raises: bool = True) -> dg.ExecuteInProcessResult:
    assets = [one for one in load(folder).assets or [] if one.op.name.startswith("airbyte")]  # type: ignore[union-attr]
    chosen = dg.AssetSelection.assets(*(["airbyte", stream] for stream in streams))
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(assets, instance=instance, selection=chosen, raise_on_error=raises)  # type: ignore[arg-type]


def test_the_committed_instance_loads_with_no_server(tmp_path):
    found = specs_of(load(shutil.copytree(INSTANCE, tmp_path / "airbyte")))
    assert set(found) == {
        f"{s}/{n}" for s in ("airbyte", "bronze") for n in ("users", "products", "purchases")
    }
    for spec in (spec for key, spec in found.items() if key.startswith("airbyte/")):
        assert spec.group_name == "airbyte" and spec.owners and spec.kinds == {"airbyte"}
        assert spec.tags["stage"] == "airbyte" and spec.partitions_def is None
        assert spec.description and "Airbyte connection demo-faker" in spec.description
        assert spec.metadata["dagster/column_schema"].columns


def test_the_committed_snapshot_is_of_the_workspace_that_the_development_server_offers():
    offered = Offered.read(DEFAULT)
    state = read(INSTANCE / SNAPSHOT, offered.id).data
    assert list(state.connections_by_id) == list(offered.by_id())
    (connection,) = offered.connections
    (known,) = state.connections_by_id.values()
    assert {s.name for s in known.streams.values() if s.selected} == {s.name for s in connection.streams}
    assert INSTANCE in snapshot_folders()


def test_a_missing_snapshot_is_a_loud_error_that_says_what_to_do(tmp_path):
    folder = write_instance(tmp_path / "airbyte", "w")
    with pytest.raises(Exception) as error:  # noqa: B017, PT011  Dagster wraps it in a class of its own
        load(folder)
    assert "snapshot.json is missing" in str(reason(error.value))
    assert "asgard airbyte refresh" in str(reason(error.value))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"workspace_id": "w", "data": {"__class__": "Novel"}}'])
def test_a_broken_snapshot_is_a_loud_error(tmp_path, text):
    (tmp_path / SNAPSHOT).write_text(text)
    with pytest.raises(ConfigError, match="is no snapshot"):
        read(tmp_path / SNAPSHOT, "w")


def test_a_snapshot_of_another_workspace_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is of workspace .* but defs.yaml names w"):
        read(INSTANCE / SNAPSHOT, "w")


def test_an_unknown_key_fails_the_load_with_file_and_line(tmp_path):
    folder = write_instance(tmp_path / "airbyte", "w", ownres=["team:x"])
    with pytest.raises(Exception) as error:  # noqa: B017, PT011
        load(folder)
    assert "ownres" in str(error.value.__cause__) and "defs.yaml:" in str(error.value.__cause__)


def test_every_page_of_connections_becomes_assets_and_the_snapshot_is_always_the_same(fake, monkeypatch):
    names = tuple(f"shop{number}" for number in range(120))
    syncs = fake.open(names=names, prefixes=True)
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        shown = refresh_snapshot(folder, write=False)
        assert "+++ b/" in shown and not (folder / SNAPSHOT).exists()
        refresh_snapshot(folder)
        before = (folder / SNAPSHOT).read_bytes()
        assert refresh_snapshot(folder) == ""
    assert (folder / SNAPSHOT).read_bytes() == before
    monkeypatch.setenv("ASGARD_AIRBYTE_URL", NOBODY)
    assert set(specs_of(load(folder))) == {
        f"{stage}/{name}_users" for name in names for stage in ("airbyte", "bronze")
    }


def test_a_new_stream_appears_after_a_refresh_and_the_difference_says_so(fake, monkeypatch):
    before, after = fake.open(), fake.open(streams=("users", "orders"))
    folder = write_instance(fake.folder / "airbyte", before.registry.id)
    for syncs in (before, after):
        with serving(syncs) as url:
            monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
            difference = refresh_snapshot(folder)
    added = [line.split() for line in difference.splitlines() if line.startswith("+ ")]
    assert ["+", '"selected":', "true"] in added and ["+", '"orders":', "{"] in added
    assert set(specs_of(load(folder))) == {"airbyte/users", "airbyte/orders", "bronze/users", "bronze/orders"}


def test_two_connections_with_one_stream_name_are_refused(fake, monkeypatch):
    syncs = fake.open(names=("a", "b"))
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        refresh_snapshot(folder)
    with pytest.raises(Exception) as error:  # noqa: B017, PT011
        load(folder)
    assert "connections a and b both have airbyte/users" in str(reason(error.value))


def test_refreshing_with_no_server_says_which_setting_to_look_at(tmp_path):
    folder = write_instance(tmp_path / "airbyte", "w")
    with pytest.raises(SourceError, match="ASGARD_AIRBYTE_URL"):
        refresh_snapshot(folder)
    assert not (folder / SNAPSHOT).exists()


def test_materializing_one_stream_syncs_the_connection_and_reports_every_stream(served, fake):
    syncs, folder = served
    result = materialize(folder, "users")
    found = {
        e.asset_key.to_user_string(): e.materialization.metadata
        for e in result.get_asset_materialization_events()
    }
    assert set(found) == {"airbyte/users", "airbyte/orders"}
    metadata = found["airbyte/users"]
    assert metadata["dagster/row_count"].value == 4 and metadata["bytes"].value > 0
    assert metadata["job_id"].value == 1 and metadata["duration_seconds"].value >= 0
    assert [row["id"] for row in fake.rows("users")] == [1, 2, 3, 4]


def test_each_connection_has_a_pool_of_its_own(served):
    _, folder = served
    definition = next(iter(load(folder).assets or ()))
    assert definition.op.pool == "airbyte/fake"  # type: ignore[union-attr]


def test_a_sync_that_already_runs_is_followed_and_not_refused(fake, monkeypatch):
    syncs = fake.open({"rows": 60, "pause": 0.1})
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        refresh_snapshot(folder)
        job = start(syncs)
        result = materialize(folder, "users")
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["job_id"].value == job.id == 1


def test_a_failed_sync_fails_the_run_with_the_connectors_reason_and_log(fake, monkeypatch):
    syncs = fake.open({"mode": "error"})
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        refresh_snapshot(folder)
        with pytest.raises(dg.Failure, match="Airbyte job 1 failed: .*no such table") as failure:
            materialize(folder, "users")
    assert "ERROR no such table" in failure.value.metadata["log"].value


def test_a_run_with_no_server_fails_and_names_the_setting(served, monkeypatch):
    _, folder = served
    monkeypatch.setenv("ASGARD_AIRBYTE_URL", NOBODY)
    with pytest.raises(dg.Failure, match="ASGARD_AIRBYTE_URL"):
        materialize(folder, "users")


def test_a_stream_that_the_connection_no_longer_syncs_fails_the_run(served, fake, monkeypatch):
    syncs, folder = served
    assert run(syncs).status == "succeeded"
    with serving(fake.open({"rows": 4}, streams=("users",))) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        with pytest.raises(dg.Failure, match="no longer syncs orders"):
            materialize(folder, "users", "orders")


def test_a_sync_that_somebody_cancels_fails_the_run(fake, monkeypatch):
    syncs = fake.open({"mode": "hang"})
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)

    def cancel() -> None:
        while not syncs.store.jobs():
            time.sleep(0.02)
        syncs.cancel(1)

    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        refresh_snapshot(folder)
        threading.Thread(target=cancel, daemon=True).start()
        with pytest.raises(dg.Failure, match="job 1 cancelled"):
            materialize(folder, "users")


def test_a_run_that_gives_up_cancels_its_job(fake, monkeypatch):
    syncs = fake.open({"mode": "hang"})
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id, poll_timeout=0.3)
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        refresh_snapshot(folder)
        with pytest.raises(dg.Failure, match="job 1 is not ready after the timeout of 0.3 s"):
            materialize(folder, "users")
    assert [job.status for job in syncs.store.jobs()] == ["cancelled"]


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_secrets_are_references(monkeypatch):
    workspace = Workspace(workspace_id="w", username="env:AIRBYTE_USER", password="env:AIRBYTE_PASSWORD")
    monkeypatch.setenv("AIRBYTE_USER", "me")
    with pytest.raises(ConfigError, match="AIRBYTE_PASSWORD is not set"):
        workspace.get_client()
    monkeypatch.setenv("AIRBYTE_PASSWORD", "hush")
    assert workspace.get_client().password == "hush"
    with pytest.raises(ConfigError, match="no reference"):
        Workspace(workspace_id="w", username="me", password="env:AIRBYTE_PASSWORD").get_client()


def test_the_component_loads_no_slow_library():
    script = (
        "import sys, asgard_assets.components.airbyte;"
        "print([m for m in ('pandas', 'pyspark', 'deltalake', 'duckdb', 'feast', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_component_has_a_schema_for_editors():
    schema = AirbyteSyncs.model().model_json_schema()
    assert {"workspace", "owners", "tags", "descriptions"} <= set(schema["properties"])
    assert json.dumps(schema)
