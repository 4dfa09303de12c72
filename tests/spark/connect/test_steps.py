"""Steps on a real Spark Connect server: the tables of a step in process, and what happens when something ends."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.components.platform.transforms import transform_asset
from asgard_assets.components.silver import silver_asset, tables_in
from asgard_assets.doctor import spark_server
from asgard_assets.errors import ConfigError, SparkServerError
from asgard_assets.lake import Lake
from asgard_assets.operations.autoloader import places
from asgard_assets.resources.connect import address_of
from asgard_assets.resources.environment import resources
from asgard_assets.settings import Settings, SparkConnect
from asgard_assets.spark import tables
from asgard_assets.spark.connect import Address, SessionPool
from asgard_assets.spark.connect.sessions import Sessions, end_jobs, went_away
from asgard_assets.spark.jars import installed
from asgard_assets.spark.session import statement_conf
from asgard_assets.transforms.managed import Step, Transform, View, save
from tests.checkout import ROOT
from tests.components.bronze_frames import put_usage, usage_body
from tests.fakes.authority import Authority
from tests.ingest.files.bench import Bench
from tests.patience import ended, patience, wait_until
from tests.resources.test_launcher import execute, types
from tests.servers.builds import free_port
from tests.servers.spark_connect import TOKEN, ConnectServer, connect_server, tls_in_front
from tests.spark.connect.slow import BEAT, SECONDS

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(not installed(), reason="the Spark jars are not here; run `make setup`"),
]
DAY, NEXT = "2026-10-05", "2026-10-06"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectServer]:
    with connect_server(tmp_path_factory.mktemp("spark")) as started:
        yield started


@pytest.fixture(autouse=True)
def there(server: ConnectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's steps run on the server; its Spark functions are those of Spark Connect."""
    if server.process is None or server.process.poll() is not None:
        server.start()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SPARK_CONNECT_MODE_ENABLED", "1")


@pytest.fixture
def sessions(server: ConnectServer) -> Sessions:
    return Sessions(server.address, statement_conf(Settings()))


@pytest.fixture
def bronze(lake: Lake) -> Lake:
    put_usage(
        lake, {d: [*(usage_body(n, d) for n in range(1, 21)), None, '{"user_id": "x"}'] for d in (DAY, NEXT)}
    )
    return lake


def usage() -> dg.AssetsDefinition:
    (found,) = tables_in(importlib.import_module("asgard_assets.defs.silver.usage"))
    return silver_asset(found)


def materialize(asset: dg.AssetsDefinition, day: str = DAY) -> dg.ExecuteInProcessResult:
    return dg.materialize([asset], resources=resources(), partition_key=day, raise_on_error=False)


def rows(lake: Lake, query: str) -> list[tuple[Any, ...]]:
    with lake.connect() as connection:
        return connection.sql(query).fetchall()


def message(result: dg.ExecuteInProcessResult) -> str:
    (failure,) = result.get_step_failure_events()
    return str(failure.step_failure_data.error)


def test_a_silver_table_its_rejects_and_its_checks_are_those_of_a_step_in_process(
    bronze: Lake, tmp_path: Path
):
    result = materialize(usage())
    assert result.success
    checks = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    assert all(checks.values()) and "usage_is_plausible" in checks
    queries = ("select * from silver.usage order by all", "select * from rejected.usage order by all")
    built = [rows(bronze, query) for query in queries]
    assert [len(each) for each in built] == [20, 1]
    # The same in another process, with a Spark of its own.
    other = tmp_path / "other"
    put = Lake(str(other / "lake"))
    put_usage(put, {DAY: [*(usage_body(n, DAY) for n in range(1, 21)), None, '{"user_id": "x"}']})
    done = host(
        "asgard_assets.definitions", "silver/usage", DAY, ASGARD_HOME=str(other), ASGARD_LAUNCHER="none"
    )
    assert done.wait(patience(120)) == 0
    assert [rows(put, query) for query in queries] == built


def test_a_step_that_uses_spark_keeps_the_launcher_s_contract(tmp_path: Path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        log = execute(instance, ("counted",))
    rows = [e.dagster_event.step_materialization_data.materialization.metadata["rows"].value
            for e in log if e.dagster_event and e.dagster_event.event_type_value == "ASSET_MATERIALIZATION"]  # fmt: skip
    assert rows == [4]
    assert "PIPELINE_SUCCESS" in types(log)


def test_files_are_read_by_python_on_the_server(lake: Lake, settings: Settings, sessions: Sessions):
    session: Any = sessions.open()
    bench = Bench(session, lake, settings)
    for number in range(3):
        bench.drop(DAY, f"{number}.csv", "".join(["id,amount\n", *(f"{number}{n},1.5\n" for n in range(10))]))
    loaded = bench.run([DAY])
    assert loaded.days[DAY].rows == 30
    assert bench.rows("count(*), count(distinct id)", order="all") == [(30, 30)]
    sessions.close(session)


def test_a_query_of_the_rest_api_becomes_a_table_there(bronze: Lake):
    sql = "select user_id, count(*) as answers from usage where success group by user_id"
    transform = Transform(
        name="answers", stage="gold", sql=sql, engine="spark",
        reads=(View(name="usage", table="bronze/usage"),), steps=(Step(sql=sql),),
    )  # fmt: skip
    asset = transform_asset(save(bronze, transform))
    result = dg.materialize([asset], resources=resources(), raise_on_error=False)
    assert result.success, message(result)
    assert rows(bronze, "select count(*), sum(answers) from gold.answers") == [(21, 42)]


def test_temporary_views_and_settings_of_one_step_are_gone_for_the_next(sessions: Sessions):
    pool = SessionPool(sessions, 2, 5)
    with pool.session("team:a") as first:
        first.range(3).createOrReplaceTempView("mine")
        number = first.session_id
    with pool.session("team:a") as second:
        assert second.session_id == number
        assert not [table.name for table in second.catalog.listTables()]
        second.conf.set("spark.sql.ansi.enabled", "false")
    with pool.session("team:a") as third:
        assert third.session_id != number
        assert third.conf.get("spark.sql.ansi.enabled") == "true"
        assert third.conf.get("spark.sql.session.timeZone") == "UTC"
    pool.close()


def test_a_wrong_token_is_refused_at_once_and_names_the_setting(server: ConnectServer):
    wrong = Address(server.address.host, server.address.port, token="wrong")
    began = time.monotonic()
    with pytest.raises(ConfigError, match="ASGARD_SPARK_CONNECT_TOKEN"):
        Sessions(wrong, {}).open()
    assert time.monotonic() - began < patience(5)


def test_a_cluster_of_the_settings_is_tried_for_real_and_doctor_says_how_it_is(
    server: ConnectServer, monkeypatch: pytest.MonkeyPatch
):
    address = f"localhost:{server.address.port}"
    good = SparkConnect(address=address, token=f"env:{TOKEN}")
    monkeypatch.setenv("OTHER", "wrong")
    wrong = SparkConnect(address=address, token="env:OTHER")  # noqa: S106
    settings = Settings().model_copy(update={"clusters": {"good": good, "wrong": wrong}})
    told = {one.id: places.test(settings, one) for one in places.places(settings)}
    assert told["local"].ok and told["good"].ok, told
    assert not told["wrong"].ok and "refuses the token" in told["wrong"].reason
    assert spark_server(settings).ok


def test_a_token_may_go_without_tls_where_the_address_says_so(
    server: ConnectServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ASGARD_SPARK_CONNECT", f"sc://127.0.0.1:{server.address.port}/;use_ssl=false")
    monkeypatch.setenv("SPARK_CONNECT_AUTHENTICATE_TOKEN", "of another server")
    address = address_of(Settings())
    assert address.host != "localhost" and address.token
    Sessions(address, {}).probe()


def test_a_server_behind_tls_is_reached_by_who_knows_its_authority(server: ConnectServer, tmp_path: Path):
    authority = Authority(tmp_path, "secret")
    code = (
        "from asgard_assets.resources.connect import address_of; from asgard_assets.settings import Settings;"
        "from asgard_assets.spark.connect.sessions import Sessions;"
        "print(Sessions(address_of(Settings()), {}).open().range(3).count())"
    )

    def asked(**env: str) -> subprocess.CompletedProcess[str]:
        told = os.environ | {"ASGARD_SPARK_CONNECT": f"sc://127.0.0.1:{port}/;use_ssl=true"} | env
        return subprocess.run(
            [sys.executable, "-c", code], env=told, cwd=ROOT, capture_output=True, text=True, check=False
        )

    with tls_in_front(server.address.port, authority) as port:
        known = asked(GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=authority.path("ca.pem"))
        assert known.stdout.strip().endswith("3"), known.stderr[-2000:]
        unknown = asked(GRPC_DEFAULT_SSL_ROOTS_FILE_PATH="")
        assert unknown.returncode != 0 and "does not answer over TLS" in unknown.stderr


def test_a_server_that_is_not_there_is_named_within_seconds(bronze: Lake, monkeypatch: pytest.MonkeyPatch):
    port = free_port()
    monkeypatch.setenv("ASGARD_SPARK_CONNECT", f"sc://localhost:{port}")
    began = time.monotonic()
    said = message(materialize(usage()))
    assert f"sc://localhost:{port}" in said and "ASGARD" in said
    assert time.monotonic() - began < patience(10)


def test_a_pool_of_one_lets_the_second_step_wait_and_then_says_who_has_it(sessions: Sessions):
    pool = SessionPool(sessions, 1, 0.5)
    with pool.session("team:a") as held:
        with pytest.raises(SparkServerError, match="team:a"):
            pool.borrow("team:b")
        assert held.range(3).count() == 3
    pool.close()


def test_jobs_of_a_session_are_ended_from_another_thread(sessions: Sessions, tmp_path: Path):
    session: Any = sessions.open()
    ended_with = list[Exception]()
    beat = tmp_path / "beat"

    def work() -> None:
        try:
            endless(session, beat).collect()
        except Exception as error:  # noqa: BLE001
            ended_with.append(error)

    thread = Thread(target=work)
    thread.start()
    wait_until(beat.exists, 30, "the job runs")
    end_jobs(session)
    thread.join(patience(20))
    assert "OPERATION_CANCELED" in str(ended_with)
    assert silent(beat)
    assert session.range(3).count() == 3  # the session is good afterwards
    sessions.close(session)


def test_a_write_that_fails_ends_the_other_one(lake: Lake, sessions: Sessions, tmp_path: Path):
    session: Any = sessions.open()
    beat = tmp_path / "beat"
    slow = endless(session, beat).selectExpr("id", f"'{DAY}' as ds")
    wrong = session.range(1).selectExpr("assert_true(id > 5) as id", f"'{DAY}' as ds")
    schema = pa.schema([("id", pa.int64()), ("ds", pa.string())])
    writes = [
        (frame, lake.stage("bronze", name, schema, [DAY]))
        for name, frame in (("slow", slow), ("wrong", wrong))
    ]
    with pytest.raises(Exception, match="is not true"):
        tables.write_side_by_side([writes[1], writes[0]])
    assert not beat.exists() or silent(beat)
    sessions.close(session)


def endless(session: Any, beat: Path) -> Any:
    name = str(beat)

    def wait(batches: Iterator[Any]) -> Iterator[Any]:
        import pathlib
        import time

        for batch in batches:
            for _ in range(3000):
                pathlib.Path(name).touch()
                time.sleep(0.1)
            yield batch

    return session.range(1).mapInPandas(wait, "id long")


def silent(beat: Path, seconds: float = 2) -> bool:
    """Whether the job that beats has ended, or ends within a bounded time."""
    deadline = time.monotonic() + patience(20)
    while time.monotonic() < deadline:
        last = beat.stat().st_mtime_ns
        time.sleep(seconds)
        if beat.stat().st_mtime_ns == last:
            return True
    return False


def host(module: str, asset: str, day: str, **env: str) -> subprocess.Popen[bytes]:
    """`dagster asset materialize` in a process of its own, with the settings of this test."""
    home = Path(env.get("ASGARD_HOME", os.environ["ASGARD_HOME"]))
    (home / "dagster").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", module, "--select", asset]
    settings = {"DAGSTER_HOME": str(home / "dagster"), **env}
    kept = {k: v for k, v in os.environ.items() if k != "SPARK_CONNECT_MODE_ENABLED"}
    with (home / "host.log").open("wb") as out:
        return subprocess.Popen(
            [*command, "--partition", day],
            env=kept | settings,
            cwd=ROOT,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


@contextmanager
def slow_run(
    tmp_path: Path, seconds: float = 300, **env: str
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A run of `slow` whose job goes on: the host, and the file that the job beats."""
    beat = tmp_path / "beat"
    told = {BEAT: str(beat), SECONDS: str(seconds), **env}
    run = host("tests.spark.connect.slow", "silver/slow", DAY, **told)
    try:
        wait_until(lambda: beat.exists() or run.poll() is not None, 90, "the job runs")
        assert run.poll() is None, (tmp_path / "host.log").read_text()[-3000:]
        yield run, beat
    finally:
        ended(run, group=True)


def test_a_cancelled_run_ends_its_job_and_publishes_nothing(bronze: Lake, tmp_path: Path):
    with slow_run(tmp_path) as (run, beat):
        run.send_signal(signal.SIGTERM)
        run.wait(patience(30))
        assert silent(beat)
    assert bronze.table("silver", "slow") is None


def test_a_server_that_is_killed_in_a_step_fails_it_and_the_next_run_is_good(
    bronze: Lake, server: ConnectServer, tmp_path: Path
):
    with slow_run(tmp_path) as (run, _):
        server.kill()
        assert run.wait(patience(60)) != 0
    said = (tmp_path / "host.log").read_text()
    assert "the Spark Connect server went away during the step" in said
    assert bronze.table("silver", "slow") is None
    server.start()
    again = host(
        "tests.spark.connect.slow", "silver/slow", DAY, **{BEAT: str(tmp_path / "beat"), SECONDS: "0"}
    )
    assert again.wait(patience(90)) == 0, (tmp_path / "host.log").read_text()[-3000:]
    assert len(rows(bronze, "select * from silver.slow")) == 22


def test_a_session_of_a_dead_server_is_replaced_when_it_is_back(server: ConnectServer, sessions: Sessions):
    pool = SessionPool(sessions, 2, 5)
    with pool.session("team:a") as first:
        number = first.session_id
    server.kill()
    server.start()
    with pool.session("team:a") as second:
        assert second.session_id != number
        assert second.range(3).count() == 3
    pool.close()


def test_two_steps_at_once_have_a_session_each(bronze: Lake, sessions: Sessions):
    pool, found, failed = SessionPool(sessions, 4, 30), list[str](), list[Exception]()

    def work(number: int) -> None:
        try:
            with pool.session("team:a") as session:
                session.range(number).createOrReplaceTempView("mine")
                assert session.sql("select count(*) as n from mine").collect()[0]["n"] == number
                found.append(session.session_id)
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    threads = [Thread(target=work, args=(number,)) for number in (2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(60))
    assert not failed and len(found) == 3
    pool.close()


def test_the_server_of_a_home_is_found_kept_running_and_ended_with_its_keeper(tmp_path: Path):
    home = tmp_path / "home"
    env = {
        **os.environ,
        "ASGARD_HOME": str(home),
        "ASGARD_SPARK_CONNECT": "",
        "ASGARD_SPARK_CONNECT_PORT": str(free_port()),
    }
    command = [str(Path(sys.executable).parent / "asgard"), "spark-server"]
    with (tmp_path / "keeper.log").open("wb") as out:
        keeper = subprocess.Popen(command, env=env, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
    try:
        said = tmp_path / "keeper.log"
        wait_until(
            lambda: "Spark is warm" in said.read_text() or keeper.poll() is not None, 90, "Spark is warm"
        )
        note = json.loads((home / "spark-connect" / "server.json").read_text())
        os.kill(listener(note["port"]), signal.SIGKILL)
        wait_until(lambda: said.read_text().count("Spark is warm") == 2, 90, "Spark is warm again")
    finally:
        ended(keeper)
    assert not (home / "spark-connect" / "server.json").exists()
    with pytest.raises(AssertionError):
        listener(note["port"])


def listener(port: int) -> int:
    """The process that listens there."""
    import psutil

    found: Sequence[Any] = [
        each.pid
        for each in psutil.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port
    ]
    assert found, f"nothing listens at {port}"
    return found[0]


def test_errors_of_the_query_itself_are_not_taken_for_a_lost_server(sessions: Sessions):
    session: Any = sessions.open()
    with pytest.raises(Exception, match="nowhere") as raised:
        session.sql("select * from nowhere").collect()
    assert not went_away(raised.value)
    sessions.close(session)
