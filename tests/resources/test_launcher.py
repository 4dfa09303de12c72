"""The contract of the step launcher: a launched step leaves the same event log as the same step in process.

Drivers are plain Python processes here (tests/fakes/python_launcher.py); `test_spark_submit.py` runs real ones. On a Spark
Connect server the body has no driver of its own: what becomes of a lost driver has no meaning there. Steps that use such a
server are in `tests/spark/connect`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository

from tests.checkout import ROOT
from tests.patience import patience

Run = Callable[..., list[dg.EventLogEntry]]
# Said of the run, of its processes or of the launcher, not of the step.
NOT_OF_THE_STEP = {
    "ENGINE_EVENT",
    "LOGS_CAPTURED",
    "RESOURCE_INIT_STARTED",
    "RESOURCE_INIT_SUCCESS",
    "RESOURCE_INIT_FAILURE",
}


def execute(
    instance: dg.DagsterInstance, assets: Sequence[str], tags: Mapping[str, str] | None = None
) -> list[dg.EventLogEntry]:
    """Run the assets of `launched.py` in a job that a driver can load too; returns the run's log."""
    repository = ReconstructableRepository.for_module("tests.resources.launched", "defs", str(ROOT))
    job = ReconstructableJob(repository, "__ASSET_JOB")
    with dg.execute_job(
        job,
        instance,
        asset_selection=[dg.AssetKey(a) for a in assets],
        tags=dict(tags or {}),
        raise_on_error=False,
    ) as result:
        return list(instance.all_logs(result.run_id))


def day(key: str) -> dict[str, str]:
    return {"dagster/partition": key}


def days(first: str, last: str) -> dict[str, str]:
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def story(log: Sequence[dg.EventLogEntry]) -> list[Any]:
    """The log without what two runs cannot share: times, ids, processes."""
    told = []
    for entry in log:
        event = entry.dagster_event
        if event is None:
            told.append((entry.level, entry.user_message))
        elif event.event_type_value not in NOT_OF_THE_STEP:
            told.append((event.event_type_value, event.step_key, _data(event)))
    return told


def _data(event: dg.DagsterEvent) -> Any:
    data = event.event_specific_data
    if event.is_step_success or event.event_type_value.startswith("PIPELINE_"):
        return None
    if event.is_step_failure or event.is_step_up_for_retry:
        user = getattr(data, "user_failure_data", None)
        cause = data.error.cause
        return data.error.message, cause and cause.message, user and dg.serialize_value(user)
    return _without_ids(json.loads(dg.serialize_value(data)))


def _without_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    # Pointers are row numbers of one event log; a test of their own follows them.
    return {
        key: _without_ids(item)
        for key, item in value.items()
        if key not in ("timestamp", "run_id", "storage_id")
        and "event_pointer" not in key
        and key != "target_materialization_data"
    }


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Callable[[str], dg.DagsterInstance]]:
    opened = []

    def open_instance(name: str) -> dg.DagsterInstance:
        (tmp_path / name).mkdir(exist_ok=True)
        opened.append(dg.DagsterInstance.local_temp(str(tmp_path / name)))
        opened[-1].add_dynamic_partitions("files", ["a.csv", "b.csv"])
        return opened[-1]

    yield open_instance
    for each in opened:
        each.dispose()


@pytest.fixture
def here(instance: Callable[[str], dg.DagsterInstance], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs assets in process."""
    mine = instance("here")

    def run(*assets: str, tags: Mapping[str, str] | None = None) -> list[dg.EventLogEntry]:
        for variable in ("LAUNCH_FOLDER", "ASGARD_LAUNCHER"):
            monkeypatch.delenv(variable, raising=False)
        return execute(mine, assets, tags)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "exchange").mkdir()
    return tmp_path / "exchange"


@pytest.fixture
def there(
    request: pytest.FixtureRequest,
    instance: Callable[[str], dg.DagsterInstance],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Runs assets in drivers, or as its parameter says."""
    mine, place = instance("there"), getattr(request, "param", "drivers")

    def run(*assets: str, tags: Mapping[str, str] | None = None) -> list[dg.EventLogEntry]:
        if place == "drivers":
            monkeypatch.setenv("LAUNCH_FOLDER", str(folder))
        else:
            monkeypatch.setenv("ASGARD_LAUNCHER", place)
        return execute(mine, assets, tags)

    return run


EVERYWHERE = pytest.mark.parametrize("there", ["drivers", "connect"], indirect=True)


def types(log: Sequence[dg.EventLogEntry]) -> list[str]:
    return [entry.dagster_event.event_type_value for entry in log if entry.dagster_event]


def failure(log: Sequence[dg.EventLogEntry]) -> Any:
    """What the step's failure says: the error, and the metadata of a dg.Failure."""
    (event,) = [e.dagster_event for e in log if e.dagster_event and e.dagster_event.is_step_failure]
    return event.event_specific_data


def left_behind(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log"]


@EVERYWHERE
@pytest.mark.slow
def test_days_ranges_checks_metadata_logs_and_provenance_arrive_as_in_process(
    here: Run, there: Run, folder: Path
) -> None:
    for run in (here, there):
        run("upstream", tags=day("2026-10-05"))
        run("upstream", tags=day("2026-10-06"))
    one = day("2026-10-05")
    two = days("2026-10-05", "2026-10-06")
    assert story(there("table", tags=one)) == story(here("table", tags=one))
    launched = there("table", tags=two)
    assert story(launched) == story(here("table", tags=two))
    assert types(launched).count("ASSET_MATERIALIZATION") == 2
    provenance = [
        entry.dagster_event.step_materialization_data.materialization.tags[
            "dagster/input_data_version/upstream"
        ]
        for entry in launched
        if entry.dagster_event and entry.dagster_event.event_type_value == "ASSET_MATERIALIZATION"
    ]
    assert all(version and version != "INITIAL" for version in provenance)
    assert not left_behind(folder)
    assert not list(folder.rglob("*.log"))


@EVERYWHERE
@pytest.mark.servers
def test_subsets_of_a_multi_asset_and_dynamic_partitions_arrive_as_in_process(here: Run, there: Run) -> None:
    for run in (here, there):
        run("upstream", tags=day("2026-10-05"))
    one = day("2026-10-05")
    assert story(there("first", "second", tags=one)) == story(here("first", "second", tags=one))
    assert story(there("second", tags=one)) == story(here("second", tags=one))
    assert story(there("from_file", tags=day("b.csv"))) == story(here("from_file", tags=day("b.csv")))


@EVERYWHERE
@pytest.mark.servers
def test_provenance_points_to_rows_of_the_hosts_event_log(
    there: Run, instance: Callable[[str], dg.DagsterInstance]
) -> None:
    one = day("2026-10-05")
    there("upstream", tags=one)
    log = there("first", "second", tags=one)
    tags = {
        entry.dagster_event.asset_key.to_user_string(): entry.dagster_event.step_materialization_data.materialization.tags
        for entry in log
        if entry.dagster_event and entry.dagster_event.event_type_value == "ASSET_MATERIALIZATION"
    }
    for child, parent in (("first", "upstream"), ("second", "first")):
        record = instance("there").get_latest_data_version_record(dg.AssetKey(parent))
        assert tags[child][f"dagster/input_event_pointer/{parent}"] == str(record.storage_id)


@EVERYWHERE
@pytest.mark.servers
def test_errors_of_the_body_and_its_retries_arrive_as_in_process(here: Run, there: Run) -> None:
    for asset in ("failing", "refusing", "second_try"):
        assert story(there(asset)) == story(here(asset)), asset


@pytest.mark.slow
def test_a_lost_driver_fails_with_its_exit_code_its_last_lines_and_a_hint(there: Run) -> None:
    said = failure(there("vanishing"))
    assert "SparkJobError" in said.error.to_string()
    metadata = said.user_failure_data.metadata
    assert metadata["exit_code"].value == "17"
    assert "about to vanish" in metadata["last_lines"].value
    assert "about to vanish" in Path(metadata["log"].value).read_text()
    assert metadata["fix"].value


@pytest.mark.servers
def test_a_lost_driver_is_tried_again_as_the_retry_policy_says(there: Run) -> None:
    told = types(there("lost_once"))
    assert told.count("STEP_UP_FOR_RETRY") == 1
    assert "PIPELINE_SUCCESS" in told


@pytest.mark.servers
def test_success_without_exit_code_zero_is_not_believed(there: Run) -> None:
    log = there("lying")
    assert "STEP_SUCCESS" not in types(log)
    assert "not believed" in failure(log).error.message


@pytest.mark.servers
def test_a_driver_that_cannot_start_its_resources_says_so(there: Run) -> None:
    said = failure(there("fussy"))
    assert "could not load the definitions or start the resources" in said.error.message
    assert "no such database here" in said.user_failure_data.metadata["last_lines"].value


@pytest.mark.servers
def test_code_that_changed_under_a_running_host_is_told_without_talk_of_images(
    there: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asgard_assets.resources.steps.fingerprint", lambda: "of-yesterday")
    said = failure(there("refusing")).error.message
    assert "the code has changed since this host began: the host's code is of-yesterday" in said
    assert "image" not in said.split("To fix:")[1]


def test_a_job_that_only_this_process_knows_is_refused_with_what_to_do(folder: Path) -> None:
    from tests.fakes.python_launcher import PythonLauncher
    from tests.resources.launched import failing

    result = dg.materialize(
        [failing], resources={"step_launcher": PythonLauncher(folder=str(folder))}, raise_on_error=False
    )
    (event,) = result.get_step_failure_events()
    assert "dagster asset materialize" in event.step_failure_data.error.to_string()


@pytest.fixture
def asleep(folder: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`dagster asset materialize` of an asset that sleeps in its driver: the host, and the driver's pid."""
    home = tmp_path / "home"
    home.mkdir()
    env = {**os.environ, "LAUNCH_FOLDER": str(folder), "DAGSTER_HOME": str(home)}
    command = [
        sys.executable,
        "-m",
        "dagster",
        "asset",
        "materialize",
        "-m",
        "tests.resources.launched",
        "--select",
        "sleeping",
    ]
    with (tmp_path / "host.log").open("wb") as out:
        host = subprocess.Popen(command, env=env, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
    try:
        wait(lambda: host.poll() is not None or _says_its_pid(folder), 40)
        assert host.poll() is None, (tmp_path / "host.log").read_text()
        yield host, int((folder / "pid").read_text())
    finally:
        if host.poll() is None:
            host.kill()
        host.wait()


def wait(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + patience(seconds)
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def _says_its_pid(folder: Path) -> bool:
    return (folder / "pid").exists() and bool((folder / "pid").read_text())


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def last_run(tmp_path: Path) -> tuple[dg.DagsterRun, list[dg.EventLogEntry]]:
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        run = instance.get_runs(limit=1)[0]
        return run, list(instance.all_logs(run.run_id))


@pytest.mark.servers
def test_a_cancelled_run_lets_the_body_clean_up_and_leaves_no_driver(
    asleep: tuple[subprocess.Popen[bytes], int], folder: Path, tmp_path: Path
) -> None:
    host, driver = asleep
    host.send_signal(signal.SIGTERM)
    host.wait(patience(30))
    assert (folder / "cleaned").exists()
    assert not alive(driver)
    assert {path.name for path in left_behind(folder)} == {"pid", "cleaned"}
    run, log = last_run(tmp_path)
    assert run.status in (dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE)
    assert any(entry.user_message == "asleep" for entry in log)


@pytest.mark.servers
def test_a_driver_killed_from_outside_fails_the_step_and_names_the_signal(
    asleep: tuple[subprocess.Popen[bytes], int], tmp_path: Path
) -> None:
    host, driver = asleep
    os.kill(driver, signal.SIGKILL)
    assert host.wait(patience(30)) != 0
    run, log = last_run(tmp_path)
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert "SIGKILL" in failure(log).error.message


@pytest.mark.servers
def test_a_driver_gives_up_when_its_host_is_gone(
    asleep: tuple[subprocess.Popen[bytes], int], folder: Path
) -> None:
    host, driver = asleep
    host.kill()
    host.wait()
    wait(lambda: not alive(driver), 15)
    assert (folder / "cleaned").exists()


def test_private_modules_of_dagster_are_used_by_the_launcher_and_the_purge_of_history_only() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "asgard_assets").rglob("*.py")
        if "dagster._" in path.read_text()
    }
    assert users == {"asgard_assets/resources/steps.py", "asgard_assets/components/platform/history.py"}
