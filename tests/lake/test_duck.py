"""A DuckDB connection reaches what its caller named, and nothing else."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake, duck
from asgard_assets.lake.duck import Reach, Reading, only_reads

OUTSIDE = ["elsewhere/x.csv", "elsewhere/x.parquet", "elsewhere/x.json"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def tmp_path(home: Path) -> Path:
    """Nothing here may change a file: one folder does for all."""
    return home


@pytest.fixture(scope="module")
def lake(home: Path) -> Lake:
    """A lake with one table, and files beside it that are nobody's business."""
    tmp_path = home
    lake = Lake(str(tmp_path / "lake ü #1"))
    publish(lake)
    publish(Lake(str(tmp_path / "elsewhere/lake")))
    with duckdb.connect() as free:
        for name in OUTSIDE:
            free.execute(f"copy (select 'canary' as a) to '{tmp_path / name}'")
    return lake


def publish(lake: Lake) -> None:
    staging = lake.stage("bronze", "t", pa.schema([("a", pa.int64())]))
    lake.write(staging, pa.table({"a": [1, 2, 3]}))
    lake.publish(staging)


READS = [
    "select * from bronze.t",
    "from bronze.t",
    "select sum(a) over () from bronze.t, unnest([1]) u(x), range(3) r(y)",
    "with w as (select * from bronze.t) select count(*) from w",
    "describe bronze.t",
    "summarize bronze.t",
    "show all tables",
    "explain select * from bronze.t",
    "explain analyze select * from bronze.t",
    "pivot bronze.t on a in (1, 2) using count(*)",
    "values (1), (2)",
    "select * from duckdb_views()",
    "select * from information_schema.tables",
    "-- a word\nselect 1;",
]


@pytest.mark.parametrize("query", READS)
def test_queries_of_the_lake_run(lake: Lake, query: str) -> None:
    with lake.connect() as connection:
        assert connection.execute(query).fetchall() is not None


NO_QUERY = [
    "copy (select 1) to '{root}/bronze/t/x.csv'",
    "copy (select 1) to '{home}/x.csv'",
    "select 1; copy (select 1) to '{root}/x.csv'",
    "explain analyze copy (select 1) to '{root}/x.csv'",
    "/* select */ explain analyze copy (select 1) to '{root}/x.csv'",
    "create table t as select 1",
    "create secret s (type s3, key_id 'a', secret 'b')",
    "drop view bronze.t",
    "insert into bronze.t values (1)",
    "attach '{home}/x.db' as x",
    "attach '{root}/bronze/t' as d (type delta)",
    "export database '{root}/x'",
    "set threads = 1",
    "reset threads",
    "load json",
    "install spatial",
    "call enable_logging()",
    "pragma database_list",
    "checkpoint",
    "prepare p as select 1",
    "set variable x = 1",
    "use memory",
    "detach memory",
]
NO_FUNCTION = [
    "select * from delta_scan('{home}/elsewhere/lake/bronze/t')",
    "describe select * from delta_scan('{home}/elsewhere/lake/bronze/t')",
    "select * from delta_scan('http://127.0.0.1:9/x')",
    "select * from (select (select count(*) from delta_scan('{root}/bronze/t')))",
    "select * from query('copy (select 1) to ''{root}/x.csv''')",
    "select * from query_table('bronze.t')",
    "select json_serialize_plan('select * from delta_scan(''http://127.0.0.1:9/x'')')",
    "select * from json_execute_serialized_sql('{{}}')",
    "select * from duckdb_secrets()",
    "explain select * from duckdb_secrets()",
    "select * from which_secret('s3://x', 's3')",
    "select * from duckdb_settings()",
]


@pytest.mark.parametrize("query", [*NO_QUERY, *NO_FUNCTION])
def test_what_is_no_query_of_the_lake_is_refused_before_it_runs(
    lake: Lake, tmp_path: Path, query: str
) -> None:
    text = query.format(root=lake.root, home=tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with lake.connect() as connection:
        with pytest.raises((ConfigError, duckdb.Error)):
            connection.execute(text)
        with pytest.raises((ConfigError, duckdb.Error)):
            connection.sql(text)
    assert sorted(tmp_path.rglob("*")) == before


LOCKED = [
    "select * from read_csv('{home}/elsewhere/x.csv')",
    "select * from '{home}/elsewhere/x.csv'",
    "select * from read_text('{root}/../elsewhere/x.csv')",
    "select * from read_text('file://{home}/elsewhere/x.csv')",
    "select * from read_blob('/etc/passwd')",
    "select * from read_parquet('{home}/elsewhere/x.parquet')",
    "select * from read_json('{home}/elsewhere/x.json')",
    "select * from glob('{home}/*')",
    "select * from parquet_metadata('{home}/elsewhere/x.parquet')",
    "select * from sniff_csv('{home}/elsewhere/x.csv')",
    "select * from read_text('http://127.0.0.1:9/x')",
    "select * from read_parquet('s3://somebody/x.parquet')",
    "select * from delta_scan('{home}/elsewhere/lake/bronze/t')",
    "select * from duckdb_secrets(redact = false)",
    "select * from local_variable",
]
LOCKED_FOR_WRITERS = [
    "copy (select 1) to '{home}/out.csv'",
    "attach '{home}/x.db' as x",
    "attach 'dbname=x' as x (type postgres)",
    "export database '{home}/x'",
    "set enable_external_access = true",
    "set lock_configuration = false",
    "set allowed_directories = ['/']",
    "set allowed_configs = ['allowed_directories']",
    "set s3_endpoint = '127.0.0.1:9'",
    "set secret_directory = '{home}'",
    "create persistent secret s (type s3, key_id 'a', secret 'b')",
    "load '{home}/x.duckdb_extension'",
    "install spatial",
    "pragma profiling_output = '{home}/profile'",
]


@pytest.mark.parametrize("query", [*LOCKED, *LOCKED_FOR_WRITERS])
def test_an_engines_own_connection_reaches_the_lake_alone(lake: Lake, tmp_path: Path, query: str) -> None:
    local_variable = pa.table({"a": ["canary"]})
    assert local_variable.num_rows == 1
    before = sorted(tmp_path.rglob("*"))
    with lake.workbench() as connection, pytest.raises(duckdb.Error):
        connection.execute(query.format(root=lake.root, home=tmp_path)).fetchall()
    assert sorted(tmp_path.rglob("*")) == before


def test_an_engine_reads_and_writes_below_the_lake_and_where_it_said(lake: Lake, tmp_path: Path) -> None:
    with lake.workbench(paths=[str(tmp_path / "elsewhere")]) as connection:
        connection.execute(f"copy (select 1 as a) to '{lake.root}/bronze/t/x.parquet'")
        assert connection.execute(f"select * from '{lake.root}/bronze/t/x.parquet'").fetchall() == [(1,)]
        assert connection.execute(f"from '{tmp_path}/elsewhere/x.csv'").fetchall() == [("canary",)]
    with duck.connect(Reach(paths=(f"{tmp_path}/elsewhere/x.csv",))) as connection:
        assert connection.execute(f"from '{tmp_path}/elsewhere/x.csv'").fetchall() == [("canary",)]
        with pytest.raises(duckdb.PermissionException):
            connection.execute(f"from '{tmp_path}/elsewhere/x.json'").fetchall()


def test_only_settings_that_the_caller_named_may_change() -> None:
    with duck.connect(Reach(settings=("threads",))) as connection:
        connection.execute("set threads = 1")
        with pytest.raises(duckdb.InvalidInputException, match="locked"):
            connection.execute("set memory_limit = '1GB'")


def test_a_connection_of_nothing_computes_and_reads_what_it_was_given() -> None:
    with duck.connect() as connection:
        connection.register("rows", pa.table({"a": [1, 2]}))
        assert connection.execute("select sum(a) from rows").fetchall() == [(3,)]
        with pytest.raises(duckdb.PermissionException):
            connection.execute("select * from read_text('/etc/passwd')").fetchall()


def test_keys_are_not_readable_by_sql(monkeypatch: pytest.MonkeyPatch) -> None:
    canaries = {
        "AWS_ACCESS_KEY_ID": "canaryid",
        "AWS_SECRET_ACCESS_KEY": "canary-secret",
        "AWS_SESSION_TOKEN": "canary-token",
    }
    for name, value in canaries.items():
        monkeypatch.setenv(name, value)
    with duck.connect(Reach((Lake("s3://lake/x", "http://127.0.0.1:9"),))) as connection:
        told = ""
        for query in (
            "select * from duckdb_secrets()",
            "select * from duckdb_settings()",
            "select current_setting('s3_secret_access_key'), current_setting('s3_session_token')",
            "select * from duckdb_variables()",
        ):
            told += str(connection.execute(query).fetchall())
        assert "canary-secret" not in told and "canary-token" not in told
        with pytest.raises(ConfigError):
            only_reads(connection, "select * from duckdb_secrets()")
        assert isinstance(Reading(connection), Reading)


HIDDEN = [
    "select write_blob('{home}/x.json', 'x'::blob)",
    "select write_blob('{root}/bronze/t/_delta_log/00000000000000000009.json', 'x'::blob)",
    "select '{home}/x'.write_blob('x'::blob)",
    "select system.main.\"write_blob\" ('{home}/x', 'x'::blob)",
    "select (select write_blob('{home}/x', 'x'::blob))",
    "select list_transform(['{home}/x'], p -> write_blob(p, 'x'::blob))",
    "create table t as select Write_Blob /* ( */ ('{home}/x', 'x'::blob)",
    "create macro m(p) as write_blob(p, 'x'::blob)",
    "prepare p as select write_blob($1, 'x'::blob)",
]
LOGS = [
    "select * from delta_scan('{home}/elsewhere/lake/bronze/t')",
    "select * from delta_scan('{root}/../elsewhere/lake/bronze/t')",
    "select * from delta_scan('{root}/%2e%2e/elsewhere/lake/bronze/t')",
    "select * from delta_scan('file://{home}/elsewhere/lake/bronze/t')",
    "select * from delta_scan('{root}' || '/../elsewhere/lake/bronze/t')",
    "select * from delta_scan($${home}/elsewhere/lake/bronze/t$$)",
    "select * from delta_scan(e'{home}/elsewhere/lake/bronze/t')",
    "select * from \"delta_scan\" -- (\n ('{home}/elsewhere/lake/bronze/t')",
    "create macro m(p) as table select * from delta_scan(p)",
    "select * from delta_scan('s3://somebody/x')",
    "select * from delta_scan('http://127.0.0.1:9/x')",
    "select * from delta_list_files('{home}/elsewhere/lake/bronze/t')",
    "select * from query('from delta_' || 'scan(''{home}/elsewhere/lake/bronze/t'')')",
    "create or replace /* x */ temporary secret \"store s3://lake\" (type s3, endpoint '127.0.0.1:9')",
    "create secret (type s3, key_id 'a', secret 'b')",
]


@pytest.mark.parametrize("query", [*HIDDEN, *LOGS])
def test_statements_that_duckdbs_lock_does_not_hold_for_are_refused(
    lake: Lake, tmp_path: Path, query: str
) -> None:
    text = query.format(root=lake.root, home=tmp_path)
    with pytest.raises(ConfigError):
        duck.refuse_unlocked(Reach((lake,)), text)
    before = sorted(tmp_path.rglob("*"))
    with lake.connect() as connection, pytest.raises((ConfigError, duckdb.Error)):
        connection.execute(text)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "query",
    [
        "create view v as select * from delta_scan('{root}/bronze/t')",
        "select * from \"delta_scan\"('{root}/bronze/t', version = 1) -- delta_scan('/x')",
        "select query, write_blob from x where query = (1)",
        "select 'write_blob(''/x'', 1)'",
        "create table secret (secret int)",
        "select 'create secret' as secret",
        "select 'not ended",
        "",
    ],
)
def test_other_statements_are_not_refused(lake: Lake, query: str) -> None:
    duck.refuse_unlocked(Reach((lake,)), query.format(root=lake.root))


def test_all_that_extensions_add_is_known() -> None:
    """DuckDB's lock holds for its own functions. Those of an extension are looked at, one by one."""
    names = "select distinct function_name from duckdb_functions()"
    with duckdb.connect() as free:
        own = set(free.execute(names).fetchall())
        for extension in ("httpfs", "delta"):
            free.execute(f"load '{duck.extension(extension)}'")
        assert {name for (name,) in set(free.execute(names).fetchall()) - own} == duck.UNLOCKED


def test_keys_of_the_environment_are_not_in_the_settings_of_any_locked_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "canaryid")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary-token")
    with duckdb.connect() as connection:  # as dbt and Feast make theirs
        duck.teach(connection, [Lake("s3://lake/x", "http://127.0.0.1:9")])
        duck.lock(connection, Reach())
        told = str(connection.execute("select * from duckdb_settings()").fetchall())
        told += str(connection.execute("select * from duckdb_secrets()").fetchall())
    assert "canary-secret" not in told and "canary-token" not in told


def test_paths_beside_a_remote_lake_are_opened_with_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    reach = duck.reaching(Lake("s3://lake/x", "http://127.0.0.1:9"), ["s3://rows/of/today", "/tmp/rows"])
    assert reach.paths == ("/tmp/rows",)
    with duck.connect(reach) as connection:
        found = connection.execute("select scope from duckdb_secrets()").fetchall()
    assert sorted(scope for (scopes,) in found for scope in scopes) == ["s3://lake/x", "s3://rows/of/today"]
