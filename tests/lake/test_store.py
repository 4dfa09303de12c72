"""One door to storage: the same names on a folder and on S3, and keys that are always those of now."""

from __future__ import annotations

import ast
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from asgard_assets.lake.s3.credentials import Credentials, Keys, credentials, patiently
from asgard_assets.lake.store import Store
from tests.servers.s3 import s3
from tests.servers.s3_tokens import WAYS, Guarded, guarded

ROOT = Path(__file__).parent.parent.parent
ROWS = pa.table({"a": [1, 2, 3]})


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.servers)])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """What follows holds for each store."""
    if request.param == "folder":
        yield Store(str(tmp_path / "store"))
        return
    with s3(tmp_path / "s3", "lake") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield Store("s3://lake/x", server.endpoint)


def test_what_is_put_is_read_listed_and_deleted(store: Store) -> None:
    assert store.names("a") == []
    store.put("a/two", b"2")
    store.put("a/one", b"0123456789")
    store.put("a/b/deeper", b"3")
    assert store.names("a") == ["one", "two"]
    assert store.get("a/one") == b"0123456789"
    assert store.get("a/one", 2, 3) == b"234"
    assert store.get("a/one", 7) == b"789"
    store.put("a/one", b"1")
    assert store.get("a/one") == b"1"
    store.delete("a/one")
    store.delete("a/one")
    assert store.names("a") == ["two"]
    with pytest.raises(FileNotFoundError):
        store.get("a/one")


def test_of_writers_that_race_for_a_new_object_one_wins(store: Store) -> None:
    won: list[int] = []

    def write(number: int) -> None:
        if store.put_new("a/once", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get("a/once") == str(won[0]).encode()
    assert store.names("a") == ["once"]


def test_a_file_appears_whole_or_not_at_all(store: Store) -> None:
    address = store.address("t/ds=2026-10-05/part-1.parquet")
    with store.whole(address) as file:
        pq.write_table(ROWS, file)
        assert store.names("t/ds=2026-10-05") == []
    assert pq.read_table(address, filesystem=store.filesystem, partitioning=None).equals(ROWS)
    with pytest.raises(ZeroDivisionError), store.whole(address) as file:
        file.write(b"torn")
        1 / 0  # noqa: B018
    assert pq.read_table(address, filesystem=store.filesystem, partitioning=None).equals(ROWS)
    assert store.names("t/ds=2026-10-05") == ["part-1.parquet"]


def test_a_file_is_readable_by_those_that_the_umask_lets(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    (tmp_path / "plain").write_bytes(b"")
    with store.whole(store.address("whole")) as file:
        file.write(b"x")
    assert stat.S_IMODE((tmp_path / "whole").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )


def test_addresses_are_spelled_in_one_place() -> None:
    spelled = set[str]()
    for file in [*(ROOT / "asgard_assets").rglob("*.py"), *(ROOT / "dbt").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and text.startswith(("s3://", "s3a://", "s3n://")):
                spelled.add(str(file.relative_to(ROOT)))
    assert spelled == {"asgard_assets/roots.py"}


def test_clients_and_connections_are_made_in_one_place() -> None:
    made = dict[str, set[str]]()
    for file in [*(ROOT / "asgard_assets").rglob("*.py"), *(ROOT / "dbt").rglob("*.py")]:
        for what in ("import boto3", "S3FileSystem(", "duckdb.connect(", "register_component("):
            if what in file.read_text():
                made.setdefault(what, set()).add(str(file.relative_to(ROOT)))
    assert made == {
        "import boto3": {"asgard_assets/lake/s3/client.py"},
        "register_component(": {"asgard_assets/lake/s3/client.py"},
        "S3FileSystem(": {"asgard_assets/lake/s3/filesystem.py"},
        "duckdb.connect(": {"asgard_assets/lake/duck.py"},
    }


def test_files_that_others_may_read_are_not_written_in_place() -> None:
    """They are written through `Store.whole`: no writer is given a filesystem to write into."""
    in_place = list[str]()
    for file in [*(ROOT / "asgard_assets").rglob("*.py"), *(ROOT / "dbt").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            writes = node.func.attr in ("ParquetWriter", "write_table") and any(
                keyword.arg == "filesystem" for keyword in node.keywords
            )
            if writes or node.func.attr in ("open_output_stream", "open_append_stream"):
                in_place.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert in_place == []


def test_keys_of_the_environment_come_first_with_their_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert Credentials().keys() == Keys("id", "secret", "token")
    assert Store("s3://b/x").storage_options == {
        "aws_region": "us-east-1",
        "conditional_put": "etag",
        "aws_access_key_id": "id",
        "aws_secret_access_key": "secret",
        "aws_session_token": "token",
    }
    assert not credentials().renew(credentials().keys())  # nothing else can come from there
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another")
    assert credentials().keys().token == "another"
    assert "secret" not in repr(credentials().keys())


def test_a_profile_gives_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "credentials").write_text(
        "[work]\naws_access_key_id = id\naws_secret_access_key = secret\naws_session_token = token\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert credentials().keys() == Keys("id", "secret", "token")


def test_refused_keys_are_fetched_again_each_time_and_once_for_all_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))

    def token(value: str) -> None:
        file.write_text(
            f"[default]\naws_access_key_id = i\naws_secret_access_key = s\naws_session_token = {value}\n"
        )

    token("first")
    source = Credentials(clock=lambda: 0.0)
    first = source.keys()
    token("second")
    assert source.keys() == first
    assert source.renew(first) and source.keys().token == "second"
    token("third")
    assert source.renew(first) and source.keys().token == "second"  # another thread, late with its refusal
    assert source.renew(source.handed_out) and source.keys().token == "third"  # in the same moment
    token("fourth")
    assert source.renew(None) and source.keys().token == "fourth"


def test_without_keys_the_error_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID"):
        _ = Store("s3://b/x").storage_options


def test_only_a_refusal_of_keys_is_tried_again() -> None:
    calls: list[int] = []

    def fails() -> None:
        calls.append(1)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        patiently(fails)
    assert len(calls) == 1


@pytest.mark.servers
@pytest.mark.parametrize("way", WAYS)
def test_every_engine_has_keys_in_whichever_way_they_come(
    patient_door: Guarded, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in patient_door.way(way, tmp_path).items():
        monkeypatch.setenv(name, value)
    lake = Lake(f"s3://lake/{way}", patient_door.endpoint)
    staging = lake.stage("bronze", "t", ROWS.schema)
    lake.write(staging, ROWS)  # Arrow
    lake.publish(staging)  # delta-rs
    assert lake.names("bronze/t/_delta_log")  # boto3
    with lake.connect() as connection:  # DuckDB
        assert connection.execute("select sum(a) from bronze.t").fetchall() == [(6,)]


@pytest.mark.servers
def test_a_commit_and_a_connection_outlive_their_token(
    patient_door: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in patient_door.way("container", tmp_path).items():
        monkeypatch.setenv(name, value)
    lake = Lake("s3://lake/commit", patient_door.endpoint)
    first = lake.stage("bronze", "t", ROWS.schema)
    lake.write(first, ROWS)
    lake.publish(first)
    with lake.connect() as connection:
        assert connection.execute("select sum(a) from bronze.t").fetchall() == [(6,)]
        patient_door.revoke()
        assert connection.execute("select sum(a) from bronze.t").fetchall() == [(6,)]
    second = lake.stage("bronze", "t", ROWS.schema)
    lake.write(second, ROWS)
    patient_door.revoke()
    assert lake.publish(second).version > 0
    patient_door.revoke()
    assert lake.snapshot("bronze", "t").published([""]) == {"": 2}


@pytest.fixture(scope="module")
def patient_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("s3"), "lake", seconds=3600) as server:
        yield server


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("s3"), "lake", seconds=12, revoke="/revoked/") as server:
        yield server


@pytest.mark.servers
def test_every_engine_gets_past_a_door_that_asks_for_a_token(
    door: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in door.environment.items():
        monkeypatch.setenv(name, value)
    lake = Lake("s3://lake/tables", door.endpoint)
    staging = lake.stage("bronze", "t", ROWS.schema)
    lake.write(staging, ROWS)  # Arrow
    lake.publish(staging)  # delta-rs
    with lake.connect() as connection:  # DuckDB
        assert connection.execute("select sum(a) from bronze.t").fetchall() == [(6,)]
    lake.put("small", b"x")  # botocore
    assert lake.get("small") == b"x"


@pytest.mark.servers
def test_a_revoked_token_is_replaced_in_the_middle_of_a_write(
    door: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in door.environment.items():
        monkeypatch.setenv(name, value)
    lake = Lake("s3://lake/tables", door.endpoint)
    before = credentials().keys()
    staging = lake.stage("revoked", "t", ROWS.schema)
    lake.write(staging, ROWS)
    assert credentials().keys().token != before.token
    assert door.counts()["revoked"] == 1
    lake.publish(staging)
    assert lake.version("revoked", "t") >= 0
