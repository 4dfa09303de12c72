"""Write, audit, publish: a table is written on a branch of Nessie, compared with the lake there, and merged.

Each table has a branch of its own, so that one that fails its audit holds up no other. Readers of Iceberg see the branch
under the catalog's address with its name behind it: http://nessie:19120/iceberg/audit.gold.orders.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from asgard_assets.catalogs.iceberg import TABLE_ID, VERSION, IcebergCatalog, any_of, named
from asgard_assets.catalogs.receipts import Followed, Kind, note
from asgard_assets.catalogs.source import Part, Source, fingerprint
from asgard_assets.errors import CatalogError, ConfigError
from asgard_assets.lake import Lake

if TYPE_CHECKING:
    from requests import Session

_TRIES = 5
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class AuditedCatalog:
    """An Iceberg catalog of Nessie whose tables are merged from branches. `by_hand`: only when `publish` is called."""

    main: IcebergCatalog
    prefix: str
    by_hand: bool = False

    @property
    def kind(self) -> Kind:
        return "iceberg"

    @property
    def place(self) -> str:
        return self.main.place

    def version(self, table: str) -> int:
        """The Delta version that the main branch has of the table; -1 where it has none."""
        return self.main.version(table)

    def tables(self) -> list[str]:
        return self.main.tables()

    def branch(self, table: str) -> str:
        return f"{self.prefix}.{table.replace('/', '.')}"

    def on_branch(self, table: str) -> IcebergCatalog:
        """The catalog as the table's branch has it."""
        address = f"{self.nessie.root}/iceberg/{self.branch(table)}"
        return IcebergCatalog(self.main.properties | {"uri": address})

    def follow(self, lake: Lake, table: str) -> Followed:
        """Write the table on its branch, audit it, and merge it unless that is done by hand."""
        return self._done(lake, table, merged=not self.by_hand)

    def publish(self, lake: Lake, table: str) -> Followed:
        """As `follow`, and merge in any case."""
        return self._done(lake, table, merged=True)

    def _done(self, lake: Lake, table: str, merged: bool) -> Followed:
        began = time.monotonic()
        for left in reversed(range(_TRIES)):
            with named(f"{table} cannot follow on a branch"):
                done = self._on_branch(lake, table, merged)
            if done is not None:
                found = replace(done, seconds=round(time.monotonic() - began, 3))
                note(lake, self, found)
                return found
            time.sleep(0.2 * (_TRIES - left))
        raise CatalogError(f"{table}: others commit to its Iceberg table before each merge")

    def _on_branch(self, lake: Lake, table: str, merged: bool) -> Followed | None:
        """None where another sync changed the main branch's table, or ended this branch, meanwhile: to be done again."""
        there = self.main.load(table)
        held = {} if there is None else there.properties
        branch = self.branch(table)
        if not self._differs(lake, table, held):
            self.nessie.remove(branch)
            return Followed(
                table, "absent" if there is None else "current", -1 if there is None else int(held[VERSION])
            )
        # A branch of one without any commit has no ancestor in common with it, and is never merged.
        self.main.opened.create_namespace_if_not_exists(table.partition("/")[0])
        self.nessie.make(branch)
        aside = self.on_branch(table)
        try:
            done = aside.brought(lake, table)
            if done.version >= 0:
                self._audit(lake, table, aside, held)
        except CatalogError:
            if self.nessie.hash(branch) is None:
                return None
            raise
        if not merged and done.version >= 0:  # what the lake no longer has waits for nobody
            return replace(done, done="held", version=int(held.get(VERSION, -1)), held=done.version)
        if not self.nessie.merge(branch, f"{table} at Delta version {done.version}"):
            self.nessie.remove(branch)
            return None
        self.nessie.remove(branch)
        return done if done.done != "current" else replace(done, done="followed")

    @staticmethod
    def _differs(lake: Lake, table: str, held: Mapping[str, str]) -> bool:
        stage, _, name = table.partition("/")
        snapshot = lake.snapshot(stage, name)
        if snapshot.delta is None:
            return bool(held)
        return held.get(TABLE_ID) != snapshot.table_id or int(held.get(VERSION, -1)) < snapshot.version

    def _audit(self, lake: Lake, table: str, aside: IcebergCatalog, held: Mapping[str, str]) -> None:
        """Compare what differs from the main branch, as Iceberg gives it, with the same version of the Delta table."""
        found = aside.load(table)
        if found is None:
            raise CatalogError(f"{table} is not on branch {self.branch(table)} any more; sync again")
        stage, _, name = table.partition("/")
        snapshot = lake.snapshot(stage, name)
        version = int(found.properties[VERSION])
        if snapshot.version != version:
            snapshot = replace(snapshot, version=version, delta=lake.at(stage, name, version))
        with closing(Source(lake, table, snapshot)) as source:
            same = held.get(TABLE_ID) == snapshot.table_id
            parts: list[Part] | None = source.changed_since(int(held.get(VERSION, -1))) if same else None
            if parts is not None and not parts:
                return
            scan = found.scan() if parts is None else found.scan(row_filter=any_of(parts))
            expected, there = (
                source.fingerprint(parts),
                fingerprint(scan.to_arrow_batch_reader(), source.columns),
            )
        if expected != there:
            raise CatalogError(
                f"{table}: the audit failed. Branch {self.branch(table)} has {there[0]} rows where version {version} of the "
                f"Delta table has {expected[0]}{'' if expected[0] != there[0] else ', and they differ'}. It was not merged. "
                "Look at the branch, or remove it and sync again"
            )

    @cached_property
    def nessie(self) -> Nessie:
        return Nessie(self.main.properties)


class Nessie:
    """Branches of a Nessie server, by its API v2. `properties` are those of its Iceberg catalog."""

    def __init__(self, properties: Mapping[str, str]):
        parts = urlsplit(properties.get("uri", ""))
        before, found, main = parts.path.partition("/iceberg")
        if not found:
            raise ConfigError(
                "ASGARD_ICEBERG_AUDIT needs the branches of Nessie: ASGARD_ICEBERG must be such as http://nessie:19120/iceberg"
            )
        self.root = urlunsplit((parts.scheme, parts.netloc, before, "", ""))
        self.main = main.strip("/") or "main"
        self._token = properties.get("token", "")

    @cached_property
    def _session(self) -> Session:
        from requests import Session

        session = Session()
        session.trust_env = False
        if self._token:
            session.headers["Authorization"] = f"Bearer {self._token}"
        return session

    def hash(self, branch: str) -> str | None:
        """The newest commit of a branch; None where there is no such branch."""
        found = self._asked("GET", f"trees/{quote(branch, safe='')}", allowed=(404,))
        return None if found is None else str(found["reference"]["hash"])

    def make(self, branch: str) -> None:
        """A branch of the main one as it is now, where there is none."""
        if self.hash(branch) is not None:
            return
        main = {"type": "BRANCH", "name": self.main, "hash": self.hash(self.main)}
        self._asked("POST", "trees", main, {"name": branch, "type": "BRANCH"}, allowed=(409,))

    def remove(self, branch: str) -> None:
        """Remove a branch, whatever is on it; it may be gone already."""
        while (at := self.hash(branch)) is not None:
            self._asked("DELETE", f"trees/{quote(branch, safe='')}@{at}", allowed=(404, 409))

    def merge(self, branch: str, message: str) -> bool:
        """Merge a branch into the main one. False where both changed the same table, or the branch is gone."""
        into, at = self.hash(self.main), self.hash(branch)
        if at is None:
            return False
        wanted = {"fromRefName": branch, "fromHash": at, "message": message}
        path = f"trees/{quote(self.main, safe='')}@{into}/history/merge"
        return self._asked("POST", path, wanted, allowed=(404, 409)) is not None

    def _asked(
        self, method: str, path: str, body: Any = None, query: Any = None, allowed: tuple[int, ...] = ()
    ) -> dict[str, Any] | None:
        """The answer; None where it has one of the `allowed` statuses."""
        address = f"{self.root}/api/v2/{path}"
        answer = self._session.request(method, address, json=body, params=query, timeout=_TIMEOUT_SECONDS)
        if answer.status_code in allowed:
            return None
        if answer.status_code >= 400:
            raise CatalogError(
                f"Nessie answered {answer.status_code} to {method} {path}: {answer.text[:200]}. "
                + ("Check the token of ASGARD_ICEBERG_OPTIONS" if answer.status_code in (401, 403) else "")
            )
        return answer.json() if answer.content else {}
