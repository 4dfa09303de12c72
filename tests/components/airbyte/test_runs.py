"""Syncs as runs, against a server that comes and goes."""

from __future__ import annotations

import threading
import time
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.errors import DagsterExecutionInterruptedError

from asgard_assets.components.airbyte import refresh_snapshot
from asgard_assets.errors import SourceError
from asgard_assets.resources.airbyte import Client
from deployments.local.airbyte.login import Login
from tests.fakes.airbyte import load, run, serving, start, write_instance
from tests.fakes.airbyte_instance import NOBODY, materialize
from tests.patience import patience


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
        deadline = time.monotonic() + patience(60)
        while not fake.rows():
            assert time.monotonic() < deadline, "no checkpoint was landed"
            time.sleep(0.05)
    time.sleep(2)  # longer than all retries of one request
    with serving(fake.open(slow, sync="incremental_append"), port):
        runs.join(patience(120))
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
    runs.join(patience(120))
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
