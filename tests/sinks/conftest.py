"""The Postgres of the streams' tests."""

from tests.ingest.stream.conftest import database

__all__ = ["database"]
