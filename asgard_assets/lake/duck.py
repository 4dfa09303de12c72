"""The one factory of DuckDB connections. Whoever asks says what may be reached; DuckDB refuses anything else.

Locked: no other file, no network but the stores that were named, no extension, no setting. Keys are in DuckDB's
secrets, which SQL sees redacted. Extensions come from their wheels: nothing is downloaded.

What DuckDB's lock does not cover is refused by name before it runs: functions of the Delta extension read logs, and
one of them writes files, wherever they lie; some functions run SQL that they are given as text. `only_reads` is for
queries, `refuse_unlocked` for the statements of an engine's users.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import unquote

from asgard_assets.errors import ConfigError, LakeError
from asgard_assets.lake.s3.client import use_tls
from asgard_assets.lake.s3.credentials import patiently
from asgard_assets.lake.sql import identifier, literally, quoted
from asgard_assets.lake.store import Store
from asgard_assets.roots import is_remote

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")
_THREADS = 2
_FUNCTIONS = frozenset(
    "unnest range generate_series repeat repeat_row json_each json_tree summary glob sniff_csv "
    "read_parquet parquet_scan parquet_metadata parquet_schema parquet_file_metadata parquet_kv_metadata "
    "read_csv read_csv_auto read_json read_json_auto read_json_objects read_json_objects_auto read_ndjson "
    "read_ndjson_auto read_ndjson_objects read_text read_blob pg_timezone_names icu_calendar_names "
    "duckdb_columns duckdb_constraints duckdb_databases duckdb_functions duckdb_keywords duckdb_schemas "
    "duckdb_tables duckdb_types duckdb_views".split()
)
"""Table functions that a query may name: DuckDB's lock holds for each of them."""
_RUNS_TEXT = frozenset({"json_serialize_plan", "json_execute_serialized_sql", "query"})
UNLOCKED = frozenset(
    "delta_scan delta_list_files delta_domain_metadata delta_get_transaction_version delta_set_transaction_version "
    "copy_dir write_blob get_delta_test_expression delta_filter_pushdown_log delta_filter_pushdown_log_tpcds "
    "parse_delta_filter_logline".split()
)
"""What the Delta extension adds. DuckDB's lock does not hold for it."""
_REFUSED = _RUNS_TEXT | UNLOCKED | {"query_table", "write_log"}
_SECRET = re.compile(r"create( or replace)?( (temp|temporary|persistent))? secret\b")


@dataclass(frozen=True)
class Reach:
    """What a connection may reach: stores, other folders and files, and the settings that SQL may change."""

    stores: tuple[Store, ...] = ()
    paths: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


def reaching(store: Store, paths: Iterable[str] = (), settings: Iterable[str] = ()) -> Reach:
    """The store, and paths beside it. Those in an object store are opened with the store's endpoint and keys."""
    paths = tuple(paths)
    beside = [Store(path, store.endpoint, store.region) for path in paths if is_remote(path)]
    return Reach((store, *beside), tuple(path for path in paths if not is_remote(path)), tuple(settings))


def connect(
    reach: Reach = Reach(),  # noqa: B008
    memory_limit: str = "1GB",
    threads: int = _THREADS,
    temp_directory: str | None = None,
) -> duckdb.DuckDBPyConnection:
    """A locked connection in memory, in UTC."""
    import duckdb

    config = {"memory_limit": memory_limit, "threads": threads, "allow_persistent_secrets": False}
    # To prove the signature of the Delta extension takes 0.36 CPU s; the lock file has proven its wheel.
    connection = duckdb.connect(config={**config, "allow_unsigned_extensions": True})
    try:
        teach(connection, reach.stores)
        connection.execute("set allow_unsigned_extensions = false")
        lock(connection, reach, temp_directory)
    except BaseException:
        connection.close()
        raise
    return connection


def teach(connection: Any, stores: Iterable[Store]) -> None:
    """Let a connection read these stores: Delta, S3 with the keys of now where one is remote, and UTC."""
    stores = tuple(stores)
    for name in ["httpfs", "delta"] if any(s.remote for s in stores) else ["delta"] if stores else []:
        connection.execute(f"LOAD {quoted(extension(name))}")
    connection.execute("SET TimeZone = 'UTC'")
    give_keys(connection, stores)


def give_keys(connection: Any, stores: Iterable[Store]) -> None:
    """Hand over the keys of now, again where they are others than before."""
    for store in stores:
        if not store.remote:
            continue
        keys = store.keys
        host, tls = use_tls(store.endpoint or f"https://s3.{store.region}.amazonaws.com")
        token = f", session_token {quoted(keys.token)}" if keys.token else ""
        connection.execute(
            f"create or replace secret {identifier(f'store {store.root}')} (type s3, "
            f"key_id {quoted(keys.access_key)}, secret {quoted(keys.secret_key)}{token}, "
            f"region {quoted(store.region)}, endpoint {quoted(host)}, url_style 'path', use_ssl {str(tls).lower()}, "
            f"scope {quoted(store.root)})"
        )


def lock(connection: Any, reach: Reach, temp_directory: str | None = None) -> None:
    """Close a connection: from here on SQL reaches what `reach` names and nothing else."""
    _forget_environment(connection)
    roots = [root for store in reach.stores for root in _spellings(store.root)]
    folders = [f"{root.rstrip('/')}/" for root in roots]
    for path in reach.paths:
        for spelled in _spellings(path):
            (folders if os.path.isdir(path) or path.endswith("/") else roots).append(spelled)
    folders += [f"{folder.rstrip('/')}/" for folder in folders]
    if temp_directory is None:
        temp_directory = os.path.join(tempfile.gettempdir(), f"asgard-duckdb-{os.getpid()}")
    connection.execute(f"set temp_directory = {quoted(temp_directory)}")
    connection.execute(f"set allowed_directories = {_listed(folders)}")
    connection.execute(f"set allowed_paths = {_listed(roots)}")
    connection.execute(f"set allowed_configs = {_listed(reach.settings)}")
    connection.execute("set autoinstall_known_extensions = false")
    connection.execute("set autoload_known_extensions = false")
    connection.execute("set allow_community_extensions = false")
    connection.execute("set python_enable_replacements = false")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def _forget_environment(connection: Any) -> None:
    """httpfs copies the environment's keys into settings, which SQL sees as they are."""
    known = connection.execute("select name, value from duckdb_settings() where name like 's3%'").fetchall()
    lent = {os.environ.get(f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")}
    for name, value in known:
        if value and value in lent:
            connection.execute(f"set global {name} = ''")


def _spellings(path: str) -> list[str]:
    """A path as it was given, whole, and behind its links; each also as the pattern that means it: DuckDB asks for
    both where it reads what a pattern finds."""
    plain = [path] if is_remote(path) else [path, os.path.abspath(path), os.path.realpath(path)]
    return list(dict.fromkeys(spelled for each in plain for spelled in (each, literally(each))))


def _listed(texts: Sequence[str]) -> str:
    return f"[{', '.join(quoted(text) for text in dict.fromkeys(texts))}]"


class Reading:
    """A connection that runs queries and nothing else: one SELECT (DESCRIBE, SHOW, SUMMARIZE, EXPLAIN) at a time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, stores: Sequence[Store] = ()) -> None:
        self._connection, self._stores = connection, stores

    def execute(self, query: str, parameters: Any = None) -> duckdb.DuckDBPyConnection:
        only_reads(self._connection, query)
        return self._with_keys(lambda: self._connection.execute(query, parameters))

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        only_reads(self._connection, query)
        return self._with_keys(lambda: self._connection.sql(query))

    def _with_keys(self, run: Callable[[], T]) -> T:
        """What `run` gives, with the keys of now: a connection may outlive those that it was made with."""

        def once() -> T:
            give_keys(self._connection, self._stores)
            return run()

        return patiently(once) if any(store.remote for store in self._stores) else run()

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def only_reads(connection: Any, query: str) -> None:
    """Raises ConfigError where the text is anything but one query that DuckDB's lock holds for."""
    import json

    import duckdb

    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        raise ConfigError(str(error).partition("\n\nLINE")[0]) from error
    if len(statements) != 1:
        raise ConfigError("one query at a time; PIVOT needs its values: pivot t on a in ('x', 'y')")
    inner = query
    if statements[0].type == duckdb.StatementType.EXPLAIN:
        inner = _explained(query)
    # Not as a parameter: for those DuckDB imports pandas, a fifth of a second in each process.
    [(text,)] = connection.cursor().execute(f"select json_serialize_sql({quoted(inner)})").fetchall()
    told = json.loads(text)
    if told["error"]:
        raise ConfigError(
            "only queries run here: SELECT, WITH, FROM, VALUES, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN of one; "
            "tables are written by their assets"
        )
    for name, table in _functions(told):
        if name in _REFUSED or (table and name not in _FUNCTIONS):
            raise ConfigError(f"the function {name} is not for queries here: it could reach beyond the lake")


def refuse_unlocked(reach: Reach, sql: str) -> None:
    """Raises ConfigError where statements call what DuckDB's lock does not hold for, or bring keys of their own.

    `delta_scan` may read what `reach` names, if its path stands there as plain text.
    """
    words = _words(sql)
    if _SECRET.search(" ".join(word.lower() for word in words if not word.startswith("'"))):
        raise ConfigError("SQL here brings no secrets; name them in the profile")
    for number, word in enumerate(words[:-1]):
        name = word.strip('"').lower()
        if words[number + 1] != "(" or name not in _RUNS_TEXT | UNLOCKED:
            continue
        path, end = [*words[number + 2 : number + 4], "", ""][:2]
        if name == "delta_scan" and path.startswith("'") and end in (",", ")"):
            if _reached(reach, path[1:-1].replace("''", "'")):
                continue
            raise ConfigError(f"delta_scan({path}) is outside what this connection may reach")
        raise ConfigError(f"the function {name} is not for SQL here: it could reach beyond the lake")


def _words(sql: str) -> list[str]:
    """The tokens of SQL, without comments. Parentheses are tokens of their own."""
    import duckdb

    found, content = duckdb.tokenize(sql), sql.encode()
    words, ends = list[str](), [*(offset for offset, _ in found[1:]), len(content)]
    for (start, kind), end in zip(found, ends, strict=False):
        text = content[start:end].decode()
        if "string_const" in str(kind) or text.startswith('"'):
            whole = re.match(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""", text)
            words.append(whole[0] if whole else text)
            continue
        bare = re.sub(r"--[^\n]*|/\*.*?(\*/|$)", " ", text, flags=re.DOTALL)
        words += re.findall(r"[()]|[^\s()]+", bare)
    return words


def _reached(reach: Reach, path: str) -> bool:
    """Whether a log lies within: as it is spelled, and as the Delta extension reads it, which decodes it."""
    roots = [*(store.root for store in reach.stores), *reach.paths]
    for spelled in {path, unquote(path)}:
        plain = spelled.removeprefix("file://")
        if ".." in plain.split("/") and is_remote(plain):
            return False
        real = plain if is_remote(plain) else os.path.realpath(plain)
        tops = [root.rstrip("/") if is_remote(root) else os.path.realpath(root) for root in roots]
        if not any(f"{real}/".startswith(f"{top}/") for top in tops):
            return False
    return True


def _explained(query: str) -> str:
    import re

    return re.sub(
        r"(?is)^(\s|--[^\n]*\n|/\*.*?\*/)*explain(\s+analyze)?(\s*\([^)]*\))?\s", "", query, count=1
    )


def _functions(node: Any, table: bool = False) -> Iterator[tuple[str, bool]]:
    """Names of the functions in a parsed query, and whether each stands where a table may stand."""
    if isinstance(node, Mapping):
        if node.get("type") == "TABLE_FUNCTION":
            table = True
        elif node.get("class") == "FUNCTION" and "function_name" in node:
            yield str(node["function_name"]).lower(), table
            table = False
        for value in node.values():
            yield from _functions(value, table)
    elif isinstance(node, list):
        for value in node:
            yield from _functions(value, table)


def extension(name: str) -> str:
    """Path of an extension shipped as a wheel (`duckdb-extension-<name>`)."""
    import importlib.util

    import duckdb

    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or spec.origin is None:
        raise LakeError(f"the package duckdb-extension-{name} is not installed; run `make setup`")
    folder = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}"
    return str(folder / f"{name}.duckdb_extension")
