"""Published tables under their names in a Hive Metastore, as Spark itself registers Delta tables there.

The metastore holds a name, the columns for people, and the address. Engines read the rows from the Delta table. Its own
location is a placeholder: no engine's `drop table` can remove files of the lake, and the metastore needs no keys to it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from asgard_assets.catalogs.receipts import Followed, Kind, note, place_of
from asgard_assets.errors import CatalogError, ConfigError
from asgard_assets.lake import Lake
from asgard_assets.lake.snapshot import Snapshot

Table = Any
"""A table of the metastore: what Thrift generates has no types that a checker could use."""

VERSION, TABLE_ID, NAME = "asgard.delta-version", "asgard.delta-table-id", "asgard.table"
_TIMEOUT_SECONDS = 30
_TRIES = 5
_TYPES = {
    "long": "bigint", "integer": "int", "short": "smallint", "byte": "tinyint", "timestamp_ntz": "timestamp",
}  # fmt: skip


class HiveMetastore:
    """The metastore at one of some addresses `thrift://host:port`, asked in their order. Databases are stages."""

    kind: Kind = "hive"

    def __init__(self, addresses: str):
        self.place = place_of(addresses)
        self.addresses = [_host_and_port(each.strip()) for each in addresses.split(",")]

    def version(self, table: str) -> int:
        """The Delta version whose columns the metastore has; -1 where it does not have the table."""
        with self._client(f"{table} cannot be looked up") as client:
            found = _load(client, *_names(table))
        return -1 if found is None else int(found.parameters.get(VERSION, -1))

    def tables(self) -> list[str]:
        """The tables of the metastore that come from a lake."""
        with self._client("the tables cannot be listed") as client:
            found = (
                _load(client, database, name)
                for database in client.get_all_databases()
                for name in client.get_all_tables(database)
            )
            return sorted(each.parameters[NAME] for each in found if each and NAME in each.parameters)

    def follow(self, lake: Lake, table: str) -> Followed:
        """Register the Delta table with its columns; drop its name where it is gone.

        If somebody else makes, changes or drops it meanwhile, it is looked at and done again.
        """
        began, done = time.monotonic(), Followed(table, "absent", -1)
        for left in reversed(range(_TRIES)):
            try:
                with self._client(f"{table} cannot follow") as client:
                    done = _follow(client, lake, table)
                    break
            except ModifiedMeanwhile as error:
                if not left:
                    raise CatalogError(
                        f"{table}: others change it in the metastore at each try: {error}"
                    ) from error
                time.sleep(0.1 * (_TRIES - left))
        found = replace(done, seconds=round(time.monotonic() - began, 3))
        note(lake, self, found)
        return found

    @contextmanager
    def _client(self, what: str) -> Iterator[Any]:
        from hive_metastore.ThriftHiveMetastore import Client
        from hive_metastore.ttypes import (
            AlreadyExistsException,
            InvalidObjectException,
            InvalidOperationException,
            MetaException,
            NoSuchObjectException,
        )
        from thrift.protocol.TBinaryProtocol import TBinaryProtocol
        from thrift.Thrift import TApplicationException
        from thrift.transport.TTransport import TTransportException

        try:
            transport = self._opened()
            try:
                yield Client(TBinaryProtocol(transport))
            finally:
                transport.close()
        except TTransportException as error:
            raise CatalogError(f"Hive Metastore: {what}: {error}") from error
        except (AlreadyExistsException, NoSuchObjectException) as error:
            # Thrift's own exceptions cannot be changed, so no context manager may let one pass.
            raise ModifiedMeanwhile(str(error)) from error
        except (
            InvalidObjectException,
            InvalidOperationException,
            MetaException,
            TApplicationException,
        ) as error:
            reason = str(getattr(error, "message", error)).splitlines()[0][:300]
            if isinstance(error, MetaException) and "has been modified" in reason:
                raise ModifiedMeanwhile(reason) from error
            raise CatalogError(f"Hive Metastore: {what}: {reason}") from error

    def _opened(self) -> Any:
        from thrift.transport.TSocket import TSocket
        from thrift.transport.TTransport import TBufferedTransport, TTransportException

        logging.getLogger("thrift.transport.TSocket").setLevel(logging.CRITICAL)  # the error says the same
        for left, (host, port) in zip(reversed(range(len(self.addresses))), self.addresses, strict=True):
            socket = TSocket(host, port)
            socket.setTimeout(_TIMEOUT_SECONDS * 1000)
            transport = TBufferedTransport(socket)
            try:
                transport.open()
                return transport
            except TTransportException:
                if not left:
                    raise
        raise AssertionError("unreachable")


class ModifiedMeanwhile(Exception):
    """Somebody else made, changed or dropped the table in the metastore between the look at it and the change."""


def _host_and_port(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    if parts.scheme != "thrift" or not parts.hostname:
        raise ConfigError(
            f"ASGARD_HIVE_METASTORE is {address!r}; use thrift://host:9083, or several with commas between"
        )
    return parts.hostname, parts.port or 9083


def _names(table: str) -> tuple[str, str]:
    """Database and table; a metastore keeps names in lower case."""
    stage, _, name = table.lower().partition("/")
    return stage, name


def _load(client: Any, database: str, name: str) -> Table | None:
    from hive_metastore.ttypes import GetTableRequest, NoSuchObjectException
    from thrift.Thrift import TApplicationException

    try:
        try:
            return client.get_table_req(GetTableRequest(dbName=database, tblName=name)).table
        except TApplicationException as error:  # Hive 2 knows the old question alone, Hive 4 the new one
            if error.type != TApplicationException.UNKNOWN_METHOD:
                raise
            return client.get_table(database, name)
    except NoSuchObjectException:
        return None


def _follow(client: Any, lake: Lake, table: str) -> Followed:
    stage, _, kept = table.partition("/")
    snapshot, (database, name) = lake.snapshot(stage, kept), _names(table)
    there = _load(client, database, name)
    if there is not None and there.parameters.get(NAME) != table:
        raise CatalogError(
            f"{table}: the metastore has a table {database}.{name} that does not come from it. Rename or drop it there, or "
            "take the table out of ASGARD_HIVE_TABLES"
        )
    if snapshot.delta is None:
        if there is None:
            return Followed(table, "absent", -1)
        client.drop_table(database, name, False)
        return Followed(table, "dropped", -1)
    wanted = _described(lake, table, snapshot)
    if there is None:
        _create(client, database, wanted)
    elif _said(there) != _said(wanted):
        _alter(client, there, wanted)
    else:
        return Followed(table, "current", snapshot.version)
    return Followed(table, "registered", snapshot.version)


def _described(lake: Lake, table: str, snapshot: Snapshot) -> Table:
    from hive_metastore.ttypes import FieldSchema, SerDeInfo, StorageDescriptor
    from hive_metastore.ttypes import Table as Written

    assert snapshot.delta is not None
    (database, name), (stage, _, kept) = _names(table), table.partition("/")
    fields = json.loads(snapshot.delta.schema().to_json())["fields"]
    address = lake.spark_path(stage, kept)
    return Written(
        tableName=name,
        dbName=database,
        owner="asgard",
        createTime=int(time.time()),
        tableType="EXTERNAL_TABLE",
        partitionKeys=[],
        parameters={
            "EXTERNAL": "TRUE",
            "spark.sql.sources.provider": "delta",
            NAME: table,
            TABLE_ID: snapshot.table_id,
            VERSION: str(snapshot.version),
        },
        sd=StorageDescriptor(
            cols=[FieldSchema(each["name"], _hive_type(each["type"]), None) for each in fields],
            inputFormat="org.apache.hadoop.mapred.SequenceFileInputFormat",
            outputFormat="org.apache.hadoop.hive.ql.io.HiveSequenceFileOutputFormat",
            compressed=False,
            numBuckets=-1,
            serdeInfo=SerDeInfo(
                name=name,
                serializationLib="org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
                parameters={
                    "path": address if "://" in address else f"file://{address}",
                    "serialization.format": "1",
                },
            ),
            bucketCols=[],
            sortCols=[],
            parameters={},
        ),
    )


def _hive_type(kind: Any) -> str:
    """A Delta type as Hive spells it."""
    if isinstance(kind, str):
        return _TYPES.get(kind, kind)
    if kind["type"] == "array":
        return f"array<{_hive_type(kind['elementType'])}>"
    if kind["type"] == "map":
        return f"map<{_hive_type(kind['keyType'])},{_hive_type(kind['valueType'])}>"
    inside = ",".join(f"{each['name']}:{_hive_type(each['type'])}" for each in kind["fields"])
    return f"struct<{inside}>"


def _said(table: Table) -> tuple[Any, ...]:
    """What readers go by: where the table is, which one it is, its columns."""
    return (
        table.sd.serdeInfo.parameters.get("path"),
        table.parameters.get(TABLE_ID),
        table.parameters.get("spark.sql.sources.provider"),
        [(each.name.lower(), each.type) for each in table.sd.cols],
    )


def _create(client: Any, database: str, wanted: Table) -> None:
    from hive_metastore.ttypes import AlreadyExistsException, Database, MetaException, NoSuchObjectException

    try:
        found = client.get_database(database)
    except NoSuchObjectException:
        try:
            client.create_database(Database(name=database, description=f"Stage {database} of the lake"))
        except (AlreadyExistsException, MetaException):
            pass  # made by another sync; if not, the next question fails
        found = client.get_database(database)
    wanted.sd.location = f"{found.locationUri}/{wanted.tableName}-__PLACEHOLDER__"
    try:
        client.create_table(wanted)
    except MetaException as error:  # also where another sync was faster, then of the database behind it
        if _load(client, database, wanted.tableName) is None:
            raise
        raise ModifiedMeanwhile(f"{database}.{wanted.tableName} was made by another sync") from error


def _alter(client: Any, there: Table, wanted: Table) -> None:
    """Write new columns or a new address. Hive 4 refuses it where somebody else did so since `there` was read."""
    from hive_metastore.ttypes import EnvironmentContext

    wanted.sd.location, wanted.createTime = there.sd.location, there.createTime
    wanted.parameters = there.parameters | wanted.parameters
    unchanged = {
        "expected_parameter_key": VERSION,
        "expected_parameter_value": there.parameters.get(VERSION, ""),
    }
    client.alter_table_with_environment_context(
        there.dbName, there.tableName, wanted, EnvironmentContext(unchanged)
    )
