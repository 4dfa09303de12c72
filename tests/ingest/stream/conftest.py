"""A Kafka and a Postgres, started once; each test has topics, a lake and a database table of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.stream.kafka import Kafka
from deployments.local.streaming.kafka import Broker, kafka
from deployments.local.streaming.postgres import Postgres, postgres
from tests.required import missing


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    try:
        with kafka(tmp_path_factory.mktemp("kafka") / "broker") as started:
            yield started
    except ConfigError as error:
        missing(str(error))


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    try:
        with postgres(tmp_path_factory.mktemp("postgres") / "server") as started:
            yield started
    except ConfigError as error:
        missing(str(error))


@pytest.fixture
def brokers(broker: Broker) -> Kafka:
    return Kafka(broker.address)


@pytest.fixture
def home(tmp_path: Path, broker: Broker, database: Postgres, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of a project of its own, for this process and those that it starts."""
    for name, value in {
        "ASGARD_HOME": str(tmp_path / "home"),
        "ASGARD_KAFKA": broker.address,
        "ASGARD_PARTITION_START": "2026-10-01",
        "ASGARD_PARTITION_END": "",
        "SRC_POSTGRES": database.url,
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "home"
