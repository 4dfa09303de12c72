"""Airbyte streams as assets: from the committed snapshot alone, and in step with a server when asked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from traceback import format_exception
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster_shared.record import copy

from asgard_assets.components.airbyte import AirbyteSyncs, refresh_snapshot, snapshot_folders
from asgard_assets.components.airbyte_snapshot import SNAPSHOT, read
from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.resources.airbyte import Client, Workspace
from asgard_assets.resources.environment import resources
from asgard_assets.settings import ROOT
from deployments.local.airbyte.login import Login
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


@pytest.mark.slow
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


@pytest.mark.slow
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


# Which connections, and what of them ---------------------------------------------------------------------


@pytest.fixture
def shops(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An instance over connections shop0 … shop3 with tags; shop3 is paused."""
    syncs = fake.open(names=("shop0", "shop1", "shop2", "shop3"), prefixes=True)
    for number, link in enumerate(syncs.registry.connections.values()):
        changed = replace(
            link,
            tags=("even",) if number % 2 == 0 else ("odd",),
            status="inactive" if number == 3 else "active",
        )
        syncs.registry.connections[link.id] = changed
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        refresh_snapshot(folder)
    monkeypatch.setenv("ASGARD_AIRBYTE_URL", NOBODY)
    return folder


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ({"by_name": ["shop1", "shop2"]}, "12"),
        ({"by_tag": ["even"]}, "02"),
        ({"by_pattern": "shop[0-2]"}, "012"),
        ({"by_pattern": ["*0", "*3"]}, "03"),
    ],
)
def test_connections_are_chosen_by_name_tag_or_pattern(shops, selector, chosen):
    workspace = yaml.safe_load((shops / "defs.yaml").read_text())["attributes"]["workspace"]["workspace_id"]
    write_instance(shops, workspace, connection_selector=selector)
    found = specs_of(load(shops))
    assert set(found) == {f"{stage}/shop{n}_users" for n in chosen for stage in ("airbyte", "bronze")}


def test_a_selector_that_names_no_connection_is_a_loud_error(shops):
    workspace = yaml.safe_load((shops / "defs.yaml").read_text())["attributes"]["workspace"]["workspace_id"]
    write_instance(shops, workspace, connection_selector={"by_name": ["shop1", "shop9"]})
    with pytest.raises(Exception) as error:  # noqa: B017, PT011
        load(shops)
    assert "names shop9, which the workspace did not have" in str(reason(error.value))


def test_a_paused_connection_is_visible_and_says_so(shops):
    found = specs_of(load(shops))
    paused, active = found["airbyte/shop3_users"], found["airbyte/shop0_users"]
    assert paused.metadata["airbyte/status"] == paused.tags["airbyte/status"] == "inactive"
    assert "so it is skipped" in str(paused.description)
    assert active.metadata["airbyte/status"] == "active" and "airbyte/status" not in active.tags


def test_a_paused_connection_is_skipped_and_what_follows_it_too(fake, monkeypatch):
    syncs = fake.open(status="inactive")
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        refresh_snapshot(folder)
        result = materialize(folder, "users")
    assert result.success and result.get_asset_materialization_events() == []
    assert syncs.store.jobs() == []


def test_upstreams_are_named_in_yaml_and_a_wrong_stream_is_a_loud_error(served):
    syncs, folder = served
    write_instance(folder, syncs.registry.id, deps={"users": ["crm/people"], "*": ["platform/vpn"]})
    found = specs_of(load(folder))
    upstreams = {key: {d.asset_key.to_user_string() for d in spec.deps} for key, spec in found.items()}
    assert upstreams["airbyte/users"] == {"crm/people", "platform/vpn"}
    assert upstreams["airbyte/orders"] == {"platform/vpn"}
    assert upstreams["bronze/users"] == {"airbyte/users"}
    write_instance(folder, syncs.registry.id, deps={"userz": ["crm/people"]})
    with pytest.raises(Exception) as error:  # noqa: B017, PT011
        load(folder)
    assert "deps names userz" in str(reason(error.value))


def test_a_table_that_a_defs_yaml_declares_is_left_to_it(served):
    _, folder = served
    own = folder / "own"
    own.mkdir()
    attributes = {"name": "people", "path": "airbyte/users", "ds": {"type": "filename"}, "description": "d"}
    content = {"type": "asgard_assets.components.files.FileIngest", "attributes": attributes}
    (own / "defs.yaml").write_text(yaml.safe_dump(content))
    keys = {key.to_user_string() for one in load(folder).assets or () for key in one.keys}  # type: ignore[union-attr]
    assert keys == {"airbyte/users", "airbyte/orders", "bronze/orders"}


def test_keys_need_nothing_of_the_destination(served):
    """At run time dagster-airbyte knows no destination; the same key must come out."""
    syncs, folder = served
    state = read(folder / SNAPSHOT, syncs.registry.id).data
    component = AirbyteSyncs.resolve_from_dict(
        yaml.safe_load((folder / "defs.yaml").read_text())["attributes"]
    )
    for props in state.to_airbyte_connection_table_props_data():
        blind = copy(props, destination_type=None, database=None, schema=None)
        assert component.get_asset_spec(blind).key == component.get_asset_spec(props).key


# Workspaces and logins -----------------------------------------------------------------------------------

BASIC = {"username": "env:AB_USER", "password": "env:AB_PASSWORD"}
CREDENTIALS = {"client_id": "env:AB_ID", "client_secret": "file:{folder}/key"}


@pytest.mark.parametrize(
    ("kind", "given"),
    [("oss", {}), ("oss", BASIC), ("oss", CREDENTIALS), ("cloud", CREDENTIALS)],
    ids=["oss", "oss basic", "oss client credentials", "cloud"],
)
def test_each_kind_of_workspace_logs_in_refreshes_and_syncs(fake, monkeypatch, given, kind):
    for name, value in {"AB_USER": "me", "AB_PASSWORD": "hush", "AB_ID": "app"}.items():
        monkeypatch.setenv(name, value)
    (fake.folder / "key").write_text("secret\n")
    references = {name: value.format(folder=fake.folder) for name, value in given.items()}
    login = Login()
    if "username" in given:
        login = Login(username="me", password="hush")
    elif given:
        login = Login(client_id="app", client_secret="secret")
    syncs = fake.open()
    with serving(syncs, login=login) as url:
        public, config = f"{url}/api/public/v1", f"{url}/api/v1"
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url if kind == "oss" else NOBODY)
        monkeypatch.setattr("asgard_assets.resources.airbyte.AIRBYTE_CLOUD_REST_API_BASE_URL", public)
        monkeypatch.setattr(
            "asgard_assets.resources.airbyte.AIRBYTE_CLOUD_CONFIGURATION_API_BASE_URL", config
        )
        folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
        content = yaml.safe_load((folder / "defs.yaml").read_text())
        content["attributes"]["workspace"] |= {"type": kind, **references}
        (folder / "defs.yaml").write_text(yaml.safe_dump(content))
        refresh_snapshot(folder)
        (event,) = materialize(folder, "users").get_asset_materialization_events()
        assert event.materialization.metadata["dagster/row_count"].value == 3
        link = str(event.materialization.metadata["job"].value)
        assert link.startswith(
            "https://cloud.airbyte.com/workspaces" if kind == "cloud" else f"{url}/workspaces"
        )
        if given:
            login = Login(username="me", password="other", client_id="app", client_secret="other")
            with serving(fake.open(), login=login) as locked:
                monkeypatch.setenv("ASGARD_AIRBYTE_URL", locked)
                if kind == "oss":
                    with pytest.raises(SourceError, match="401"):
                        refresh_snapshot(folder)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"type": "cloud"}, "wants client_id"),
        ({"username": "env:A"}, "belong together"),
        (
            {"username": "env:A", "password": "env:B", "client_id": "env:C", "client_secret": "env:D"},
            "choose one",
        ),
    ],
)
def test_a_login_that_cannot_work_fails_the_load(tmp_path, given, word):
    folder = write_instance(tmp_path / "airbyte", "w")
    content = yaml.safe_load((folder / "defs.yaml").read_text())
    content["attributes"]["workspace"] |= given
    (folder / "defs.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(Exception) as error:  # noqa: B017, PT011
        load(folder)
    assert word in "".join(format_exception(error.value))


# Running, against a server that comes and goes -----------------------------------------------------------


@pytest.mark.slow
def test_a_sync_is_followed_through_a_restart_of_the_server(fake, monkeypatch):
    from tests.end_to_end.homes import free_port

    port = free_port()
    slow = {"rows": 6, "pause": 0.3, "state_every": 1}
    syncs = fake.open(slow, sync="incremental_append", checkpoint_seconds=0)
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    monkeypatch.setenv("ASGARD_AIRBYTE_URL", f"http://127.0.0.1:{port}")
    with serving(syncs, port):
        refresh_snapshot(folder)
    results: list[Any] = []
    runs = threading.Thread(target=lambda: results.append(materialize(folder, "users")), daemon=True)
    first = fake.open(slow, sync="incremental_append", checkpoint_seconds=0)
    with serving(first, port):
        runs.start()
        deadline = time.monotonic() + 60
        while not fake.rows():
            assert time.monotonic() < deadline, "no checkpoint was landed"
            time.sleep(0.05)
    time.sleep(2)  # longer than all retries of one request
    with serving(fake.open(slow, sync="incremental_append"), port):
        runs.join(120)
    (result,) = results
    assert result.success
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["job_id"].value == 1, "the same job"
    assert event.materialization.metadata["dagster/row_count"].value == 6
    assert sorted(row["id"] for row in fake.rows()) == [1, 2, 3, 4, 5, 6]


def test_a_server_that_stays_away_ends_the_run_when_patience_ends(fake, monkeypatch):
    syncs = fake.open({"mode": "hang"})
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id, patience=0.5)
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        refresh_snapshot(folder)
        results: list[Any] = []

        def go() -> None:
            try:
                materialize(folder, "users")
            except dg.Failure as failure:
                results.append(failure)

        runs = threading.Thread(target=go, daemon=True)
        runs.start()
        while not syncs.store.jobs():
            time.sleep(0.05)
    runs.join(120)
    assert "silent for" in str(results[0].description) and "ASGARD_AIRBYTE_URL" in str(results[0].description)


@pytest.mark.slow
def test_a_job_that_somebody_starts_in_between_is_adopted(fake, monkeypatch):
    """The 409 that a retried request gets after a time-out: the job of the first one runs already."""
    syncs = fake.open({"rows": 20, "pause": 0.1})
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        refresh_snapshot(folder)
        real = Client.start_sync_job

        def lost(self: Client, connection_id: str) -> Any:
            real(self, connection_id)  # heard by the server, but the answer never comes
            return real(self, connection_id)

        monkeypatch.setattr(Client, "start_sync_job", lost)
        (event,) = materialize(folder, "users").get_asset_materialization_events()
    assert event.materialization.metadata["job_id"].value == 1
    assert [job.id for job in syncs.store.jobs()] == [1]


@pytest.mark.parametrize("keep", [False, True])
def test_a_run_that_is_terminated_cancels_its_job_unless_told_otherwise(fake, monkeypatch, keep):
    syncs = fake.open({"mode": "hang"})
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    content = yaml.safe_load((folder / "defs.yaml").read_text())
    content["attributes"]["workspace"]["cancel_on_termination"] = not keep
    (folder / "defs.yaml").write_text(yaml.safe_dump(content))
    real = Client.get_job_details

    def interrupted(self: Client, job_id: int) -> Any:
        real(self, job_id)
        raise DagsterExecutionInterruptedError  # what a termination of the run raises in its sleep

    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        refresh_snapshot(folder)
        monkeypatch.setattr(Client, "get_job_details", interrupted)
        with pytest.raises(DagsterExecutionInterruptedError):
            materialize(folder, "users")
        (job,) = syncs.store.jobs()
        assert job.status == ("running" if keep else "cancelled")
        syncs.cancel(job.id)


def test_what_is_synced_beside_what_was_asked_for_is_said_plainly(served):
    _, folder = served
    with dg.DagsterInstance.ephemeral() as instance:
        assets = [one for one in load(folder).assets or [] if one.op.name.startswith("airbyte")]  # type: ignore[union-attr]
        result = dg.materialize(
            assets, instance=instance, selection=dg.AssetSelection.assets(["airbyte", "users"])
        )  # type: ignore[arg-type]
        said = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert any(
        "Airbyte's API syncs a connection as a whole, so orders of fake are synced too" in s for s in said
    )
    asked = {
        e.asset_key.to_user_string(): e.materialization.metadata["asked_for"].value
        for e in result.get_asset_materialization_events()
    }
    assert asked == {"airbyte/users": True, "airbyte/orders": False}


def test_an_empty_refresh_is_said_to_the_loader_where_the_destination_says_nothing(fake, monkeypatch):
    """As with Airbyte's S3 destination, which removes the old files and writes none."""
    monkeypatch.setenv("ASGARD_HOME", str(fake.folder))
    fake.landing = fake.folder / "landing" / "airbyte"
    syncs = fake.open({"rows": 0})
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    real = Client.sync

    def silent(self: Client, connection_id: str) -> Any:
        job = real(self, connection_id)
        for path in fake.files():
            path.unlink()
        return job

    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        refresh_snapshot(folder)
        assert materialize(folder, "users").success
        (left,) = fake.files()
        assert left.name.endswith("_0.jsonl.gz") and fake.rows() == [], (
            "the server's own empty file is enough"
        )
        monkeypatch.setattr(Client, "sync", silent)
        assert materialize(folder, "users").success
    (left,) = fake.files()
    assert left.name.endswith("_0.jsonl") and left.stat().st_size == 0


# The command ---------------------------------------------------------------------------------------------


def test_the_command_shows_the_difference_and_refuses_a_stale_snapshot_in_ci(fake, monkeypatch):
    from typer.testing import CliRunner

    from asgard_assets.cli import app

    def asgard(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["airbyte", "refresh", *arguments])

    syncs = fake.open(streams=("users", "orders"))
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    monkeypatch.setattr("asgard_assets.components.airbyte.snapshot_folders", lambda: [folder])
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        stale = asgard("--check")
        assert stale.exit_code == 1 and '"orders": {' in stale.stdout
        assert not (folder / SNAPSHOT).exists()
        assert asgard().exit_code == 0 and (folder / SNAPSHOT).exists()
        same = asgard("--check")
        assert same.exit_code == 0 and "says what Airbyte says" in same.stdout
