"""Which tables a database has, with the columns of their primary keys."""

from __future__ import annotations

from asgard_assets.ingest.sql.load import dialect_of
from asgard_assets.ingest.sql.source import Server, SqlSource
from asgard_assets.lake.sql import quoted


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
            "select k.table_name, k.column_name from information_schema.key_column_usage k join "
            "information_schema.table_constraints c on c.constraint_name = k.constraint_name and c.table_name = k.table_name "
            "and c.table_schema = k.table_schema where c.constraint_type = 'PRIMARY KEY' "
            f"and k.table_schema = {quoted(place)} order by k.table_name, k.ordinal_position"
        )
    found: dict[str, tuple[str, ...]] = {str(table): () for (table,) in named}
    for table, column in keys:
        if str(table) in found:
            found[str(table)] += (str(column),)
    return found
