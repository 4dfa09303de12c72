"""A step's session on a Spark Connect server: borrowed when it is first used, given back when the step ends."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from asgard_assets.spark.connect import Address, SessionPool


class Lease:
    """A step's right to one session of the pool. The session is borrowed when the step first asks for it."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._session: Any = None
        self._pool: SessionPool | None = None
        self._opening = threading.Lock()

    @property
    def session(self) -> SparkSession:
        """The session. Raises SparkServerError where the server is away or has none free, ConfigError where it refuses."""
        with self._opening:
            if self._session is None:
                self._pool = pool()
                self._session = self._pool.borrow(self.owner)
            return self._session

    @contextmanager
    def held(self) -> Iterator[None]:
        """Give the session back at the end; after an error its jobs are ended, and nobody gets it again."""
        try:
            yield
        except BaseException:
            self._end(failed=True)
            raise
        self._end(failed=False)

    def _end(self, failed: bool) -> None:
        if self._pool is not None and self._session is not None:
            self._pool.give_back(self.owner, self._session, failed)
            self._session = None


class Borrower(ABC):
    """A resource whose session is lent to it for the time of a step."""

    @abstractmethod
    def lend(self, lease: Lease | None) -> None:
        """From now on the lease's session is its own; None: that time is over."""


def pool() -> SessionPool:
    """This process's pool of sessions on the server of the settings."""
    settings = Settings()
    return _pool(address_of(settings), settings.spark_session_pool_size, settings.spark_session_pool_seconds)


@cache
def _pool(address: Address, size: int, seconds: float) -> SessionPool:
    import atexit

    from asgard_assets.spark.connect import SessionPool
    from asgard_assets.spark.connect.sessions import Sessions
    from asgard_assets.spark.session import statement_conf

    made = SessionPool(Sessions(address, statement_conf(Settings())), size, seconds)
    atexit.register(made.close)
    return made


def address_of(settings: Settings) -> Address:
    """The server that the settings name, or that of this home. Raises ConfigError where there is neither."""
    from asgard_assets.ingest.api.source.secrets import resolve
    from asgard_assets.spark.connect import Address, LocalServer

    if settings.spark_connect:
        reference = settings.spark_connect_token
        token = resolve(reference, "ASGARD_SPARK_CONNECT_TOKEN").value if reference else ""
        return Address.of(settings, token)
    if settings.env == "production":
        raise ConfigError(
            "ASGARD_SPARK_CONNECT is not set: production needs the address of a Spark Connect server, such as "
            "sc://spark-connect:15002 (sparkConnect of the Helm chart)"
        )
    return LocalServer.found(settings).address
