"""Which tables a database has, with the columns of their primary keys."""

from __future__ import annotations

from asgard_assets.ingest.sql.load import dialect_of
from asgard_assets.ingest.sql.source import Server, SqlSource
from asgard_assets.lake.sql import quoted

# Not those of table_constraints: it shows them to nobody who may only read.
_KEYS = {
    "postgres": "select c.relname, a.attname from pg_index i join pg_class c on c.oid = i.indrelid join pg_namespace n "
    "on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey) where i.indisprimary "
    "and n.nspname = {schema} order by 1, array_position(i.indkey::int2[], a.attnum)",
    "mysql": "select table_name, column_name from information_schema.statistics where index_name = 'PRIMARY' "
    "and table_schema = {schema} order by table_name, seq_in_index",
}


def tables_of(server: Server, schema: str, name: str) -> dict[str, tuple[str, ...]]:
    """Tables of a schema that the user may read, by name. Raises AwayError where the database does not answer."""
    document = {"name": "listing", "database": server.model_dump(), "tables": [{"table": "none"}]}
    dialect = dialect_of(SqlSource.model_validate(document))
    place = schema or (server.database if server.type != "postgres" else "public")
    with dialect.sessions(1, "") as (session,):
        named = session.rows(
            "select table_name from information_schema.tables where table_type = 'BASE TABLE' "
            f"and table_schema = {quoted(place)} order by 1"
        )
        keys = session.rows(
            _KEYS["postgres" if server.type == "postgres" else "mysql"].format(schema=quoted(place))
        )
    found: dict[str, tuple[str, ...]] = {str(table): () for (table,) in named}
    for table, column in keys:
        if str(table) in found:
            found[str(table)] += (str(column),)
    return found
