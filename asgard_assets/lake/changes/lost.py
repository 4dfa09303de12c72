"""A table whose log is lost: its files are there, and nothing says which of them are its rows.

Delta takes it for a table that was never made. A publish would make a new one of its own rows alone, in silence. So a
table that is made leaves a mark beside its log.
"""

from __future__ import annotations

from asgard_assets.errors import LakeError
from asgard_assets.lake.store import Store

MARK = "_created"


def mark(store: Store, table: str) -> None:
    """Note that there is a table of this address ("stage/name")."""
    store.put_new(f"{table}/{MARK}", b"This folder is a Delta table. Without its _delta_log it is a loss.\n")


def refuse(store: Store, table: str) -> None:
    """Raises LakeError where the address has no log and once had one."""
    if MARK not in store.names(table) or store.names(f"{table}/_delta_log"):
        return
    raise LakeError(
        f"{table}: its log ({store.address(table)}/_delta_log) is gone, and its files are there. Nothing is published: the "
        "new rows alone would be all of the table. Restore the log from a backup (asgard restore-all), or, where all its "
        f"rows can be built again, remove what is left and build it: asgard migrate remove {table}",
        table=table,
    )


def lost(store: Store) -> list[str]:
    """Every table of the lake that has lost its log, as stage/name."""
    from pyarrow import fs as pafs

    filesystem, found = store.filesystem, list[str]()
    root = store.root.rstrip("/")
    for stage in filesystem.get_file_info(pafs.FileSelector(root, allow_not_found=True)):
        if stage.type != pafs.FileType.Directory:
            continue
        for table in filesystem.get_file_info(pafs.FileSelector(stage.path)):
            if table.type != pafs.FileType.Directory:
                continue
            address = table.path[len(root) + 1 :]
            try:
                refuse(store, address)
            except LakeError:
                found.append(address)
    return sorted(found)
