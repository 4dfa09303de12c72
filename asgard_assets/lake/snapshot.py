"""A table opened at one version, with its transaction numbers: what a run reads once and goes by until its end.

delta-rs gives one transaction number for each reading of the log. Here one reading gives them all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asgard_assets.lake.numbers import COMMIT_ID, publish_id, seen_id
from asgard_assets.lake.store import Store
from asgard_assets.windows import key_in

if TYPE_CHECKING:
    from deltalake import DeltaTable

_ENTRY = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(
    r"(?P<version>\d{20})\.checkpoint"
    r"(\.(?P<part>\d{10})\.(?P<parts>\d{10})|\.[0-9a-fA-F-]{36})?\.(?P<ending>parquet|json)"
)


@dataclass(frozen=True)
class Snapshot:
    """One version of the table `stage/name`; version -1, and nothing in it, where it was never published."""

    table: str
    version: int
    delta: DeltaTable | None
    log: TableLog

    @property
    def table_id(self) -> str:
        """Delta's own id: another one where the table was made anew."""
        return "" if self.delta is None else str(self.delta.metadata().id)

    @property
    def numbers(self) -> Mapping[str, int]:
        """All transaction numbers, by one reading of the log."""
        return {} if self.delta is None else self.log.numbers(self.version)

    @property
    def moments(self) -> Mapping[str, int]:
        """When each transaction number was written, in milliseconds; of those that say so."""
        return {} if self.delta is None else self.log.moments(self.version)

    @property
    def foreign(self) -> Mapping[str, int]:
        """Days that other writers changed since the lake last counted, each with the version of the last such commit."""
        return {} if self.delta is None else self.log.foreign(self.version)

    def number(self, app: str) -> int:
        """The transaction number under an identifier; 0 where there is none."""
        return self.numbers.get(app, 0)

    def published(self, days: Iterable[str]) -> dict[str, int]:
        """How often each day was published; 0 where never."""
        numbers = self.numbers
        return {day: numbers.get(publish_id(day), 0) for day in days}


@dataclass
class TableLog:
    """The log of the table in a folder of a store. What was read once is kept: a later version needs what came after."""

    store: Store
    table: str
    _version: int = -1
    _known: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def entry(self, version: int) -> str | None:
        """The text of an entry; None where it is not there yet, or not any more."""
        try:
            return self.store.get(self._path(f"{version:020}.json")).decode()
        except FileNotFoundError:
            return None

    def numbers(self, version: int) -> Mapping[str, int]:
        """Every transaction number of the table at that version."""
        return {app: number for app, (number, _) in self._at(version).items()}

    def foreign(self, version: int) -> dict[str, int]:
        """Days that commits of other writers changed, between the version up to which they are counted and this one.

        Looks at entries behind a checkpoint too: a checkpoint keeps the files and forgets who wrote them.
        """
        since = self._at(version).get(seen_id())
        found = dict[str, int]()
        for number in range(since[0] + 1, version + 1) if since else ():
            text = self.entry(number) or ""
            if f'"{COMMIT_ID}"' not in text:
                found |= dict.fromkeys(_touched(text), number)
        return found

    def changed(self, since: int, until: int) -> list[dict[str, str | None]] | None:
        """Partition values of which the commits after `since`, up to `until`, added or removed rows; None where an entry
        is not there any more."""
        found = dict[str, dict[str, str | None]]()
        for number in range(since + 1, until + 1):
            text = self.entry(number)
            if text is None:
                return None
            for values in _values_touched(text):
                found[json.dumps(values, sort_keys=True)] = values
        return [found[key] for key in sorted(found)]

    def moments(self, version: int) -> Mapping[str, int]:
        """When each of them was written, in milliseconds; of those that say so."""
        return {app: moment for app, (_, moment) in self._at(version).items() if moment}

    def _at(self, version: int) -> Mapping[str, tuple[int, int]]:
        if version != self._version and (version < self._version or not self._followed(version)):
            self._read(version)
        return self._known

    def _followed(self, version: int) -> bool:
        """Whether the entries after what is known are all there; then they are known too."""
        if self._version < 0 or version - self._version > 10:
            return False
        entries = [self.entry(each) for each in range(self._version + 1, version + 1)]
        if None in entries:
            return False
        for text in entries:
            self._known = {**self._known, **_of_text(text or "")}
        self._version = version
        return True

    def _read(self, version: int) -> None:
        for last in (False, True):
            try:
                self._known, self._version = self._pass(version), version
                return
            except (
                FileNotFoundError
            ):  # tidied up since it was listed: the checkpoint that replaced it is listed now
                if last:
                    raise

    def _pass(self, version: int) -> dict[str, tuple[int, int]]:
        names = self.store.names(self._path("").rstrip("/"))
        base, files = _newest_checkpoint(names, version)
        found = dict[str, tuple[int, int]]()
        for name in files:
            found |= self._of_checkpoint(name)
        entries = {int(match[1]): name for name in names if (match := _ENTRY.fullmatch(name))}
        for number in range(base + 1, version + 1):
            if number not in entries:
                raise FileNotFoundError(self._path(f"{number:020}.json"))
            found |= _of_text(self.store.get(self._path(entries[number])).decode())
        return found

    def _of_checkpoint(self, name: str) -> dict[str, tuple[int, int]]:
        path = self._path(name)
        if name.endswith(".json"):
            return _of_text(self.store.get(path).decode())
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.store.address(path), filesystem=self.store.filesystem) as file:
            if "txn" not in file.schema_arrow.names:
                return {}
            rows = (
                row
                for batch in file.iter_batches(columns=["txn"])
                for row in batch.column("txn").drop_null().to_pylist()
            )
            return {
                row["appId"]: (row["version"], row.get("lastUpdated") or 0)
                for row in rows
                if row["appId"] is not None
            }

    def _path(self, name: str) -> str:
        return f"{self.table}/_delta_log/{name}"


def _newest_checkpoint(names: list[str], version: int) -> tuple[int, list[str]]:
    """The version of the newest whole checkpoint up to `version`, and its files; -1 where there is none."""
    found = dict[tuple[int, str], list[str]]()
    whole = dict[int, list[str]]()
    for name in names:
        match = _CHECKPOINT.fullmatch(name)
        if match is None or int(match["version"]) > version:
            continue
        number, parts = int(match["version"]), match["parts"]
        if parts is None:
            whole[number] = [name]
            continue
        of_it = found.setdefault((number, parts), [])
        of_it.append(name)
        if len(of_it) == int(parts):
            whole.setdefault(number, of_it)
    newest = max(whole, default=-1)
    return newest, whole.get(newest, [])


def _touched(text: str) -> set[str]:
    """Days of which an entry adds or removes rows; '' for a table that is a whole."""
    return {key_in(values) for values in _values_touched(text)}


def _values_touched(text: str) -> Iterator[dict[str, str | None]]:
    for line in text.splitlines():
        action = json.loads(line)
        change = action.get("add") or action.get("remove")
        if change and change.get("dataChange", True):
            yield change.get("partitionValues") or {}


def _of_text(text: str) -> dict[str, tuple[int, int]]:
    return dict(_transactions(text))


def _transactions(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    import orjson  # a commit of three years of hours has a hundred thousand lines: they are one document

    lines = [line for line in text.splitlines() if '"txn"' in line]
    for action in orjson.loads(f"[{','.join(lines)}]"):
        if found := action.get("txn"):
            yield found["appId"], (found["version"], found.get("lastUpdated") or 0)
