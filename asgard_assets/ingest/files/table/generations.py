"""Full refreshes of a sender: rows of an older generation leave the table once their files have left the landing folder.

Airbyte counts the generations of a stream. "Refresh and remove records" begins a new one, and removes the older files when
it is done; "refresh and retain records" begins one too, and leaves them. So the files say which of both it was.
"""

from __future__ import annotations

from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.landing.area import walk
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake, Staging
from asgard_assets.lake.sql import identifier, literally, quoted


def outdated(lake: Lake, landing: Landing, source: FileSource, staging: Staging) -> frozenset[str]:
    """Files whose rows must leave the table: they are of an older generation than the newest that is staged, and gone.

    The folder is listed only if the table has rows of an older generation. Raises SourceError where it cannot be.
    """
    column = source.generation
    if column is None or source.files == "snapshot":
        return frozenset()
    staged = [uri for uris in lake.staged_files(staging).values() for uri in uris]
    table = lake.table(staging.stage, staging.name)
    if not staged or table is None or column not in {field.name for field in table.schema().fields}:
        return frozenset()
    counted = f"try_cast({identifier(column)} as bigint)"
    with lake.workbench(tables=()) as connection:
        files = f"read_parquet([{', '.join(quoted(literally(uri)) for uri in staged)}], union_by_name = true)"
        if column not in {row[0] for row in connection.execute(f"describe select * from {files}").fetchall()}:
            return frozenset()
        older = connection.execute(
            f'select distinct "_file" from {lake.delta_scan(staging.stage, staging.name)} '
            f"where {counted} < (select max({counted}) from {files})"
        ).fetchall()
    if not older:
        return frozenset()
    return frozenset(path for (path,) in older) - {file.path for file in walk(landing, source)}
