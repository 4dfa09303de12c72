"""`asgard new database`: a source of all tables of a database, with their keys, as the database lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.sql.source import SqlSource


def new_database(target: Path, name: str, server: dict[str, Any], schema: str, prefix: str) -> list[str]:
    """Write the source into `target`, which must not be there yet; returns the tables.

    Raises ConfigError where the server is none, or has no tables, AwayError where it does not answer.
    """
    import yaml

    from asgard_assets.ingest.sql.listing import tables_of

    if target.exists():
        raise ConfigError(f"{target} is there already. Name another file with --file")
    checked = _checked({"name": name, "database": server, "tables": [{"table": "none"}]})
    found = tables_of(checked.database, schema, name)
    if not found:
        raise ConfigError(
            f"{server['database']} has no tables that {server['user']} may read; name a schema with --schema"
        )
    tables = [{"table": table} | ({"key": list(key)} if key else {}) for table, key in found.items()]
    attributes: dict[str, Any] = {
        "name": name,
        "prefix": prefix,
        "schema": schema,
        "database": server,
        "tables": tables,
    }
    document = {
        "type": "asgard_assets.components.sql.SqlIngest",
        "attributes": {field: value for field, value in attributes.items() if value},
    }
    _checked(document["attributes"])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return list(found)


def _checked(document: dict[str, Any]) -> SqlSource:
    try:
        return SqlSource.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise ConfigError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
