"""Servers that can be the online store: how Feast is told of one, which keys it holds, and how a key is removed.

Feast only ever writes keys. Its Redis store moreover keeps what it has where the event time is the same, as after a
correction of Gold; here every value is written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from asgard_assets.errors import ConfigError

if TYPE_CHECKING:
    from feast import FeatureStore


class Keyed(Protocol):
    """A feature view, as far as its name and its key go."""

    @property
    def name(self) -> str: ...

    @property
    def keys(self) -> Mapping[str, Any]: ...


Key = Any
"""The value of a view's key column; a tuple where it has several."""


def online_config(address: str) -> dict[str, Any]:
    """Feast's settings of the store at an address such as `redis://host:6379/0` or `postgresql://user:password@host/db`."""
    place = urlsplit(address)
    if place.scheme in ("redis", "rediss"):
        return {"type": "redis", "connection_string": _redis_words(place), "skip_dedup": True}
    if place.scheme.partition("+")[0] in ("postgresql", "postgres"):
        return {
            "type": "postgres",
            "host": place.hostname or "localhost",
            "port": place.port or 5432,
            "database": place.path.lstrip("/") or unquote(place.username or ""),
            "user": unquote(place.username or ""),
            "password": unquote(place.password or ""),
            "sslmode": "prefer",  # as of libpq
            **dict(parse_qsl(place.query)),
        }
    raise ConfigError(
        f"ASGARD_ONLINE_STORE: no online store is spoken to by {place.scheme or 'no scheme'}; write "
        "redis://host:6379/0, rediss://… (TLS) or postgresql://user:password@host:5432/database"
    )


def _redis_words(place: SplitResult) -> str:
    password = unquote(place.password or "")
    if "," in password:
        raise ConfigError(
            "ASGARD_ONLINE_STORE: the password holds a comma, which Feast reads as its end; change it"
        )
    words = [f"{place.hostname or 'localhost'}:{place.port or 6379}", f"db={place.path.lstrip('/') or 0}"]
    words += ["ssl=true"] if place.scheme == "rediss" else []
    words += [f"username={unquote(place.username)}"] if place.username else []
    return ",".join([*words, *([f"password={password}"] if password else [])])


def identity(config: Any) -> str:
    """Which server and database it is, without its password."""
    match config.type:
        case "postgres":
            return f"postgres {config.host}:{config.port}/{config.database}/{config.db_schema}"
        case "redis":
            words = config.connection_string.split(",")
            return f"redis {' '.join(word for word in words if not word.startswith('password='))}"
        case other:
            return f"{other} {getattr(config, 'path', '')}"


def is_there(feast: FeatureStore) -> bool:
    """Whether it has a table for each view; Redis needs none."""
    from feast.infra.online_stores.helpers import compute_table_id

    config: Any = feast.config.online_store
    if config.type not in ("sqlite", "postgres"):
        return True
    wanted = {compute_table_id(feast.project, view) for view in feast.list_feature_views()}
    if config.type == "sqlite":
        with closing(sqlite3.connect(config.path, timeout=60)) as connection:
            names = connection.execute("select name from sqlite_master").fetchall()
    else:
        with _postgres(config) as connection:
            found = "select table_name from information_schema.tables where table_schema = %s"
            names = connection.execute(found, [config.db_schema]).fetchall()
    return wanted <= {name for (name,) in names}


def _postgres(config: Any) -> Any:
    import psycopg

    return psycopg.connect(
        host=config.host,
        port=config.port,
        dbname=config.database,
        user=config.user,
        password=config.password,
        sslmode=config.sslmode,
    )


class OnlineKeys(Protocol):
    """The keys under which one view's values lie, as Feast writes them."""

    def blobs(self) -> Iterator[bytes]:
        """Each key once."""
        ...

    def remove(self, blobs: Sequence[bytes]) -> None:
        """Remove the view's values under these keys."""
        ...


def keep_only(feast: FeatureStore, view: Keyed, kept: Collection[Key]) -> tuple[int, list[Key]]:
    """Remove the view's keys that are not in `kept`. Returns how many those were, and which of `kept` are missing."""
    from feast.infra.key_encoding_utils import deserialize_entity_key, serialize_entity_key

    keys, version = online_keys(feast, view), feast.config.entity_key_serialization_version
    gone, there = list[bytes](), set[Key]()
    for blob in keys.blobs():
        entity = deserialize_entity_key(blob, version)
        if serialize_entity_key(entity, version) != blob:
            continue  # of another project, whose name ends as this one's does
        values = dict(zip(entity.join_keys, entity.entity_values, strict=True))
        found = tuple(getattr(values[name], values[name].WhichOneof("val")) for name in view.keys)
        key = found[0] if len(found) == 1 else found
        if key in kept:
            there.add(key)
        else:
            gone.append(blob)
    keys.remove(gone)
    return len(gone), [key for key in kept if key not in there]


def online_keys(feast: FeatureStore, view: Keyed) -> OnlineKeys:
    """The keys of a view in the store that Feast is told of. Raises ConfigError for a kind whose keys nobody can list."""
    from feast.infra.online_stores.helpers import compute_table_id

    config: Any = feast.config.online_store
    table = compute_table_id(feast.project, feast.get_feature_view(view.name))
    match config.type:
        case "sqlite":
            return _SqliteKeys(config.path, table)
        case "postgres":
            return _PostgresKeys(config, table)
        case "redis":
            return _RedisKeys(feast, view)
        case other:
            raise ConfigError(
                f"feature_store.yaml: online_store.type {other!r} cannot be kept equal to Gold: nobody can remove who is "
                "gone. Use sqlite (one machine), or set ASGARD_ONLINE_STORE to redis://… or postgresql://…"
            )


class _SqliteKeys:
    def __init__(self, path: str, table: str) -> None:
        self._path, self._table = path, table

    def blobs(self) -> Iterator[bytes]:
        with closing(sqlite3.connect(self._path, timeout=60)) as connection:
            rows = connection.execute(f'select distinct entity_key from "{self._table}"').fetchall()
        return (blob for (blob,) in rows)

    def remove(self, blobs: Sequence[bytes]) -> None:
        with closing(sqlite3.connect(self._path, timeout=60)) as connection, connection:
            connection.executemany(
                f'delete from "{self._table}" where entity_key = ?', [(blob,) for blob in blobs]
            )


class _PostgresKeys:
    def __init__(self, config: Any, table: str) -> None:
        self._config, self._table = config, f'"{config.db_schema}"."{table}"'

    def blobs(self) -> Iterator[bytes]:
        with _postgres(self._config) as connection:
            rows = connection.execute(f"select distinct entity_key from {self._table}").fetchall()
        return (bytes(blob) for (blob,) in rows)

    def remove(self, blobs: Sequence[bytes]) -> None:
        with _postgres(self._config) as connection:
            connection.execute(f"delete from {self._table} where entity_key = any(%s)", [list(blobs)])


class _RedisKeys:
    """A hash for each entity, which all views of the entity share: a view's values are some of its fields."""

    _MOST = 1000

    def __init__(self, feast: FeatureStore, view: Keyed) -> None:
        from feast.infra.key_encoding_utils import serialize_entity_key_prefix
        from feast.infra.online_stores.redis import RedisOnlineStore

        # Feast's own client: it knows clusters, sentinels and TLS by the same settings.
        config: Any = feast.config.online_store
        self._client: Any = RedisOnlineStore()._get_client(config)
        self._project = feast.project.encode()
        found = feast.get_feature_view(view.name)
        self._prefix = serialize_entity_key_prefix(found.join_keys)
        self._moment = f"_ts:{view.name}".encode()
        self._fields = [self._moment, *(_field(f"{view.name}:{each.name}") for each in found.features)]

    def blobs(self) -> Iterator[bytes]:
        pattern = b"".join([_literally(self._prefix), b"*", _literally(self._project)])
        keys = {
            key for key in self._client.scan_iter(pattern, count=self._MOST) if key.endswith(self._project)
        }
        for some in _parts(sorted(keys), self._MOST):
            with self._client.pipeline(transaction=False) as pipe:
                for key in some:
                    pipe.hexists(key, self._moment)
                answers = pipe.execute()
            yield from (key[: -len(self._project)] for key, there in zip(some, answers, strict=True) if there)

    def remove(self, blobs: Sequence[bytes]) -> None:
        for some in _parts(blobs, self._MOST):
            with self._client.pipeline(transaction=False) as pipe:
                for blob in some:  # Redis removes a hash with its last field
                    pipe.hdel(blob + self._project, *self._fields)
                pipe.execute()


def _field(name: str) -> bytes:
    """A feature's field in the hash, as Feast names it."""
    import mmh3

    return mmh3.hash(name, signed=False).to_bytes(4, "little")


def _literally(key: bytes) -> bytes:
    """A key for Redis, which takes it for a pattern."""
    return b"".join(b"\\" + bytes([c]) if bytes([c]) in b"*?[]\\^-" else bytes([c]) for c in key)


def _parts(found: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    return (found[start : start + size] for start in range(0, len(found), size))
