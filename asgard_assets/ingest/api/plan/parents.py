"""What killed runs had of the lists of parents: whole lists are kept, others are walked on from their last page.

A task notes each page of a parent's list after its rows (`table.notes`). The rows of a parent that count are
those of its noted pages, without a gap from the first one on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.api.plan.resume import Left
from asgard_assets.ingest.api.plan.walk_state import WalkState, outlasts
from asgard_assets.ingest.api.table.notes import LEFT, WALKS, label_of, read_notes, write_notes
from asgard_assets.lake import DS, Lake, Staging
from asgard_assets.lake.sql import literally, quoted
from asgard_assets.lake.staging import partition_folder

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Chain:
    """A parent's pages from the first on, as one try has them. `pages`: request id to the label of its files."""

    pages: Mapping[str, str] = field(default_factory=dict)
    last: int = -1
    rows: int = 0
    state: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return bool(self.state) and self.state["page"] is None

    def then(self, note: Mapping[str, Any], label: str) -> Chain | None:
        """The chain with one note more; None where it does not follow."""
        if note["first"] != self.last + 1 or note["state"] is None or self.ended:
            return None
        pages = {**self.pages, **dict.fromkeys(note["ids"], label)}
        return Chain(pages, note["last"], self.rows + note["rows"], note["state"])


def chains(notes: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Chain]:
    """The longest chain of each parent, by `row_key`; `notes` are by the label of the try that wrote them."""
    left = _of_label(notes.get(LEFT, ()), LEFT, {})
    best = dict(left)
    for label, told in notes.items():
        if label == LEFT:
            continue
        for parent, chain in _of_label(told, label, left).items():
            if parent not in best or (chain.ended, chain.last) > (best[parent].ended, best[parent].last):
                best[parent] = chain
    return best


def _of_label(notes: Iterable[Mapping[str, Any]], label: str, left: Mapping[str, Chain]) -> dict[str, Chain]:
    found: dict[str, Chain] = {}
    cut: set[str] = set()
    for note in notes:
        parent = note["row_key"]
        begins = Chain() if note["first"] == 0 else left.get(parent, Chain())
        chain = None if parent in cut else found.get(parent, begins).then(note, label)
        if chain is None:
            # A gap, or a list that is read a second time: what came before stands, unless it is void.
            cut.add(parent)
            if note["state"] is None:
                found.pop(parent, None)
        else:
            found[parent] = chain
    return found


def take_over_lists(connection: duckdb.DuckDBPyConnection, left: Left) -> tuple[int, list[str]]:
    """Copy what earlier runs had of the lists on `todo` into this run's staging folder; gives back the rows of
    whole lists, and their files. Those parents go from `todo`; the others get the place to walk on from.
    """
    kept, names = 0, list[str]()
    lake, day = left.lake, left.day
    for note in sorted(filter(left.fits, left.earlier), key=lambda note: -note.began):
        todo = dict(connection.execute("select row_key, known from todo").fetchall())
        files = left.files(note)
        found = {
            parent: chain
            for parent, chain in chains(_notes(lake, left.folder(note), day)).items()
            if parent in todo
            and chain.state["start"] == _known(todo[parent]).get("cursor")
            and "walk" not in _known(todo[parent])
            and (chain.ended or outlasts(left.source, WalkState(**chain.state)))
        }
        if found:
            rows, name = _take(connection, lake, left.staging, day, files, found, todo)
            kept += rows
            names += [name] if rows else []
    return kept, names


def _take(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    staging: Staging,
    day: str,
    files: Sequence[str],
    found: Mapping[str, Chain],
    todo: Mapping[str, str | None],
) -> tuple[int, str]:
    _select(connection, files, found)
    there = dict(connection.execute("select row_key, count(*) from taken group by 1").fetchall())
    # A file that is missing or has other columns: then the parent is walked anew.
    whole = {parent: chain for parent, chain in found.items() if there.get(parent, 0) == chain.rows}
    ended = [parent for parent, chain in whole.items() if chain.ended]
    folder = partition_folder(day, staging.dimension)
    lake.filesystem.create_dir(f"{staging.path}/{folder}", recursive=True)
    name = f"{folder}/part-{LEFT}-{_hash(*sorted(whole))}.parquet"
    count = _copy(connection, staging, name, ended)
    connection.execute("delete from todo where row_key in (select row_key from chosen)")
    for parent, chain in whole.items():
        if not chain.ended:
            inside = f"{folder}/part-{LEFT}-{_hash(parent)}.parquet"
            copied = _copy(connection, staging, inside, [parent])
            walk = {**chain.state, "files": [inside] if copied else [], "rows": copied}
            known = json.dumps(_known(todo[parent]) | {"walk": walk})
            connection.execute("update todo set known = ? where row_key = ?", [known, parent])
    told = [_summary(parent, chain) for parent, chain in whole.items()]
    write_notes(lake, staging.path, day, f"{LEFT}-{_hash(*sorted(whole))}", told)
    return count, name


def _copy(connection: duckdb.DuckDBPyConnection, staging: Staging, inside: str, parents: list[str]) -> int:
    """The taken rows of these parents as a file; gives back how many they are."""
    connection.execute(
        "create or replace temp table chosen as select unnest(?::varchar[]) as row_key", [parents]
    )
    where = "row_key in (select row_key from chosen)"
    found = connection.execute(f"select count(*) from taken where {where}").fetchone()
    if found is None or not found[0]:
        return 0
    names = ", ".join(f'"{name}"' for name in staging.schema.names if name not in staging.partition_by)
    target = quoted(f"{staging.path}/{inside}")
    connection.execute(
        f"copy (select {names} from taken where {where}) to {target} (format parquet, compression zstd)"
    )
    return found[0]


def _select(connection: duckdb.DuckDBPyConnection, files: Sequence[str], found: Mapping[str, Chain]) -> None:
    """Table `taken`: the rows of the chains."""
    import pyarrow as pa

    pages = [(parent, id, label) for parent, chain in found.items() for id, label in chain.pages.items()]
    columns = [pa.array(list(column), pa.string()) for column in zip(*pages, strict=True)]
    connection.register("wanted", pa.table(columns, names=["parent", "page", "label"]))
    listed = ", ".join(quoted(literally(uri)) for uri in files if label_of(uri.rsplit("/", 1)[1]))
    if not listed:
        connection.execute("create or replace temp table taken as select null as row_key where false")
        return
    connection.execute(
        f"""create or replace temp table taken as
        select f.* exclude (filename)
        from read_parquet([{listed}], hive_partitioning = false, filename = true) f
        join wanted w on f.row_key = w.parent and f.request_id = w.page
            and w.label = regexp_extract(f.filename, '/part-({LEFT}|[0-9]{{5}}-[0-9a-f]{{8}})-?[^/]*$', 1)"""
    )
    connection.unregister("wanted")


def _notes(lake: Lake, folder: str, day: str) -> dict[str, list[dict[str, Any]]]:
    """All notes of a run's day by label, in the order in which they were written."""
    from pyarrow import fs as pafs

    base = f"{folder}/{WALKS}/{DS}={day}"
    infos = lake.filesystem.get_file_info(pafs.FileSelector(base, allow_not_found=True))
    found: dict[str, list[dict[str, Any]]] = {}
    for name in sorted(info.base_name for info in infos):
        label = label_of(name)
        if label and name.endswith(".ndjson"):
            found.setdefault(label, []).extend(read_notes(lake, folder, f"{WALKS}/{DS}={day}/{name}"))
    return found


def _summary(parent: str, chain: Chain) -> dict[str, Any]:
    """One note for all that was taken over of a parent."""
    return {
        "row_key": parent, "first": 0, "last": chain.last, "ids": [*chain.pages], "rows": chain.rows,
        "state": dict(chain.state),
    }  # fmt: skip


def _hash(*parents: str) -> str:
    return hashlib.sha256(json.dumps(parents).encode()).hexdigest()[:16]


def _known(text: str | None) -> dict[str, Any]:
    return json.loads(text) if text else {}
