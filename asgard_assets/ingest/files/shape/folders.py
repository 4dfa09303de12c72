"""Columns that stand in a file's path, as Hive and Spark write them: `region=EU/`."""

from __future__ import annotations

from urllib.parse import unquote

from asgard_assets.ingest.files.source.models import ByFolder, FileSource

_NULL = "__HIVE_DEFAULT_PARTITION__"


def folder_values(path: str, source: FileSource) -> dict[str, str | None]:
    """The columns of folders that the source asks for or declares, by name; %-signs decoded."""
    if "=" not in path or not (source.folder_columns or source.columns):
        return {}
    wanted = {name.lower() for name in (*source.folder_columns, *source.columns)}
    ours = source.ds.name.lower() if isinstance(source.ds, ByFolder) else None
    found: dict[str, str | None] = {}
    for folder in path.removeprefix(f"{source.path}/").split("/")[:-1]:
        raw, equals, value = folder.partition("=")
        name = unquote(raw)
        if (
            equals
            and name
            and name.lower() != ours
            and ("*" in source.folder_columns or name.lower() in wanted)
        ):
            found[name] = None if value == _NULL else unquote(value)
    return found
