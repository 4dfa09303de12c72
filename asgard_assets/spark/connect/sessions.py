"""One session on a Spark Connect server: opened, looked at, cleaned, interrupted, closed."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError, SparkServerError
from asgard_assets.spark.connect.address import Address

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

_DELTA_SETS = "spark.sql.parquet.fieldId."  # by Delta itself, in each session that touches one of its tables
_DELTA, _EXTENSIONS = "DeltaSparkSessionExtension", "spark.sql.extensions"
# pyspark's own policy asks a server that is away for ten minutes, in silence.
_TRIES, _FIRST_MILLISECONDS, _MOST_MILLISECONDS = 4, 100, 1000
_GONE = (
    "StatusCode.UNAVAILABLE",
    "SESSION_NOT_FOUND",
    "SESSION_CLOSED",
    "SESSION_CHANGED",
    "RETRIES_EXCEEDED",
)
_REFUSED = ("UNAUTHENTICATED", "PERMISSION_DENIED", "Invalid authentication token", "No authentication token")


class Sessions:
    """Sessions on one server, each with `conf`: what the lake's tables need, such as UTC."""

    def __init__(self, address: Address, conf: Mapping[str, str]) -> None:
        self.address, self.conf = address, dict(conf)

    def open(self) -> SparkSession:
        """A new session. Raises SparkServerError where the server is away, ConfigError where it refuses or has no Delta."""
        self.address.reach()
        # pyspark's functions (F.col) make expressions of Spark Connect where this is set.
        os.environ["SPARK_CONNECT_MODE_ENABLED"] = "1"
        from pyspark.sql.connect.session import SparkSession

        with self._explained():
            session: Any = SparkSession.builder.channelBuilder(self.address.channel()).create()
            try:
                _retry(session, _TRIES)
                there = session.conf.getAll
                self._require_delta(there)
                for name, value in self.conf.items():
                    if there.get(name) != value:
                        session.conf.set(name, value)
            except BaseException:
                self.close(session)
                raise
            session.asgard_conf = _settings(there | self.conf)
        return session

    def probe(self) -> None:
        """Raises as `open` does, and opens no session: this process may go on with a Spark of its own."""
        from pyspark.sql.connect import proto
        from pyspark.sql.connect.client import SparkConnectClient

        self.address.reach()
        everything = proto.ConfigRequest.Operation(get_all=proto.ConfigRequest.GetAll())
        client = SparkConnectClient(self.address.channel())
        client.set_retry_policies([])
        with self._explained(), contextlib.closing(client):
            there: Any = client.config(everything).pairs
            self._require_delta(dict(there))

    def _require_delta(self, there: Mapping[str, str]) -> None:
        if _DELTA not in there.get(_EXTENSIONS, ""):
            raise ConfigError(
                f"the Spark Connect server {self.address} has no Delta: start it with Delta's jars, "
                f"spark.sql.extensions=io.delta.sql.{_DELTA} and spark.sql.catalog.spark_catalog="
                "org.apache.spark.sql.delta.catalog.DeltaCatalog"
            )

    def clean(self, session: Any) -> bool:
        """Drop its temporary views. False where it cannot be used again: its settings were changed, or it is dead."""
        try:
            with _retries(session, 0):
                for table in session.catalog.listTables():
                    if table.isTemporary:
                        session.catalog.dropTempView(table.name)
                return _settings(session.conf.getAll) == session.asgard_conf
        except Exception:  # noqa: BLE001  (whatever it is: it is not used again)
            log.info("a Spark Connect session could not be cleaned: it is closed", exc_info=True)
            return False

    def close(self, session: Any) -> None:
        """End its jobs and release it. A server that is away has lost it already."""
        for end in (lambda: _retry(session, 0), session.interruptAll, session.stop):
            with contextlib.suppress(Exception):
                end()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Inside, what the server answers comes out as an error that says what to do."""
        try:
            yield
        except Exception as error:
            if any(word in str(error) for word in _REFUSED):
                raise ConfigError(
                    f"the Spark Connect server {self.address} refuses the token. Check {self.address.token_setting}"
                ) from error
            if "StatusCode.UNIMPLEMENTED" in str(error):
                raise ConfigError(
                    f"what listens at {self.address} is no Spark Connect server. {self.address.cure}"
                ) from error
            if went_away(error):
                raise SparkServerError(
                    f"the Spark Connect server {self.address} went away. {self.address.cure}",
                    address=str(self.address),
                ) from error
            raise


def _settings(there: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in there.items() if not name.startswith(_DELTA_SETS)}


def went_away(error: BaseException) -> bool:
    """Whether a step failed because its Spark Connect server ended, or has forgotten the session."""
    if not {kind.__module__.partition(".")[0] for kind in type(error).__mro__} & {"pyspark", "grpc"}:
        return False
    return any(word in str(error) for word in _GONE)


def is_remote(session: Any) -> bool:
    """Whether the session is one of Spark Connect, and not one of a JVM of this process."""
    return type(session).__module__.startswith("pyspark.sql.connect")


def end_jobs(session: Any) -> None:
    """End the jobs of a session, of Spark Connect or of this process, from another thread than theirs."""
    with contextlib.suppress(Exception):
        if is_remote(session):
            session.interruptAll()
        else:
            session.sparkContext.cancelAllJobs()


def _retry(session: Any, tries: int) -> None:
    from pyspark.sql.connect.client.retries import DefaultPolicy

    policy = DefaultPolicy(
        max_retries=tries, initial_backoff=_FIRST_MILLISECONDS, max_backoff=_MOST_MILLISECONDS
    )
    session.client.set_retry_policies([policy] if tries else [])


@contextlib.contextmanager
def _retries(session: Any, tries: int) -> Iterator[None]:
    _retry(session, tries)
    try:
        yield
    finally:
        _retry(session, _TRIES)
