"""Chunks arrive whole, in order and only from the other side of the same step."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgard_assets.errors import ConfigError, SparkJobError
from asgard_assets.spark.transport import FolderTransport, Wire, new_key, open_transport


@pytest.fixture
def transport(tmp_path: Path) -> FolderTransport:
    return FolderTransport(tmp_path / "exchange")


def test_messages_arrive_once_and_in_order_across_chunks(transport: FolderTransport) -> None:
    key = new_key()
    sender, receiver = Wire(transport, key), Wire(open_transport(transport.address), key)
    sender.send(["one", "two"])
    assert list(receiver.receive()) == ["one", "two"]
    sender.send(["three"])
    sender.send(["four"])
    assert list(receiver.receive()) == ["three", "four"]
    assert list(receiver.receive()) == []


def test_a_chunk_of_another_key_or_under_another_name_is_refused(transport: FolderTransport) -> None:
    key = new_key()
    Wire(transport, new_key()).send(["forged"])
    with pytest.raises(SparkJobError, match="not signed"):
        list(Wire(transport, key).receive())
    Wire(transport, key).put("step", b"moved")
    transport.put("events/00000000", transport.get("step") or b"")
    with pytest.raises(SparkJobError, match="not signed"):
        list(Wire(transport, key).receive())


def test_the_key_is_never_in_the_exchange(transport: FolderTransport) -> None:
    wire = Wire(transport, new_key())
    wire.send(["something"])
    wire.beat("host")
    for path in transport.folder.rglob("*"):
        assert path.is_dir() or wire.key.encode() not in path.read_bytes()


def test_silence_is_measured_by_the_listeners_own_clock(
    transport: FolderTransport, monkeypatch: pytest.MonkeyPatch
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


def test_removing_leaves_nothing_and_may_be_repeated(transport: FolderTransport) -> None:
    transport.put("step", b"x")
    transport.remove()
    transport.remove()
    assert not transport.folder.exists()
    assert transport.get("step") is None


def test_an_unknown_address_says_what_is_possible() -> None:
    with pytest.raises(ConfigError, match="file:///"):
        open_transport("ftp://somewhere/x")
