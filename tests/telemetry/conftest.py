"""The Kafka and the Postgres of the streams' tests."""

from tests.ingest.stream.conftest import broker, brokers, database, home

__all__ = ["broker", "brokers", "database", "home"]
