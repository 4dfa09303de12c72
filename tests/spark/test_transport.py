"""Chunks arrive whole, in order and only from the other side of the same step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from asgard_assets.errors import ConfigError, SparkJobError
from asgard_assets.spark.s3 import ExchangeUnreachable, S3Transport
from asgard_assets.spark.transport import FolderTransport, Transport, Wire, new_key, open_transport
from tests.servers.s3 import s3


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.servers)])
def transport(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Transport]:
    """Every transport: what follows holds for each."""
    if request.param == "folder":
        yield FolderTransport(tmp_path / "exchange")
        return
    with s3(tmp_path / "s3", "lake") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield S3Transport.at("s3://lake/exchange")


def objects(transport: Transport) -> list[bytes]:
    """Everything under the exchange."""
    if isinstance(transport, FolderTransport):
        return [path.read_bytes() for path in transport.folder.rglob("*") if path.is_file()]
    assert isinstance(transport, S3Transport)
    page = transport.client.list_objects_v2(Bucket=transport.bucket, Prefix=f"{transport.prefix}/")
    names = [entry["Key"].removeprefix(f"{transport.prefix}/") for entry in page.get("Contents", [])]
    return [transport.get(name) or b"" for name in names]


def test_messages_arrive_once_and_in_order_across_chunks(transport: Transport) -> None:
    key = new_key()
    sender, receiver = Wire(transport, key), Wire(open_transport(transport.address), key)
    sender.send(["one", "two"])
    assert list(receiver.receive()) == ["one", "two"]
    sender.send(["three"])
    sender.send(["four"])
    assert list(receiver.receive()) == ["three", "four"]
    assert list(receiver.receive()) == []


def test_a_chunk_of_another_key_or_under_another_name_is_refused(transport: Transport) -> None:
    key = new_key()
    Wire(transport, new_key()).send(["forged"])
    with pytest.raises(SparkJobError, match="not signed"):
        list(Wire(transport, key).receive())
    Wire(transport, key).put("step", b"moved")
    transport.put("events/00000000", transport.get("step") or b"")
    with pytest.raises(SparkJobError, match="not signed"):
        list(Wire(transport, key).receive())


def test_the_key_is_never_in_the_exchange(transport: Transport) -> None:
    wire = Wire(transport, new_key())
    wire.send(["something"])
    wire.beat("host")
    assert objects(transport)
    assert not any(wire.key.encode() in body for body in objects(transport))


def test_silence_is_measured_by_the_listeners_own_clock(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("asgard_assets.spark.transport.time.monotonic", lambda: now[0])
    key = new_key()
    speaker, listener = Wire(transport, key), Wire(transport, key)
    assert listener.silence("driver") is None
    speaker.beat("driver")
    assert listener.silence("driver") == 0
    now[0] += 30
    assert listener.silence("driver") == 30
    speaker.beat("driver")
    assert listener.silence("driver") == 0


def test_removing_leaves_nothing_and_may_be_repeated(transport: Transport) -> None:
    transport.put("step", b"x")
    transport.remove()
    transport.remove()
    assert objects(transport) == []
    assert not isinstance(transport, FolderTransport) or not transport.folder.exists()
    assert transport.get("step") is None


def test_an_unknown_address_says_what_is_possible() -> None:
    with pytest.raises(ConfigError, match="file:///"):
        open_transport("ftp://somewhere/x")


@pytest.mark.servers
def test_wrong_keys_and_a_server_that_is_away_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3(tmp_path / "s3", "lake") as server:
        for name, value in {**server.environment, "AWS_SECRET_ACCESS_KEY": "wrong-secret-canary"}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SparkJobError, match="S3_SECRET_NAME") as refused:
            S3Transport.at("s3://lake/exchange").put("step", b"x")
        assert not isinstance(refused.value, ExchangeUnreachable)
        assert "canary" not in str(refused.value)
    with pytest.raises(ExchangeUnreachable, match="does not answer at s3://lake/exchange"):
        S3Transport.at("s3://lake/exchange").put("step", b"x")
