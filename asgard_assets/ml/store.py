"""Feast over the lake: its repository, its DuckDB, and a store that is opened and closed.

Feast reads Delta through ibis' default DuckDB. `open_store` gives it one that loads the extensions from
their wheels (nothing is downloaded), knows the lake's credentials, and is closed again afterwards.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from asgard_assets.lake import Lake, duck
from asgard_assets.lake.duck import Reach
from asgard_assets.lake.sql import quoted
from asgard_assets.ml.repository import Repository
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore


@dataclass(frozen=True)
class OpenStore:
    """A Feast store and the DuckDB through which it reads."""

    feast: FeatureStore
    lake: Lake
    duckdb: Any

    def query(self, table: tuple[str, str], sql: str) -> pd.DataFrame:
        """Rows of a query that reads the table `source`."""
        source = self.lake.delta_scan(*table)
        return self.duckdb.raw_sql(f"with source as (select * from {source}) select * from ({sql})").df()


class Declared(Protocol):
    """What Feast is told: of a project by its files, or of what was sent to the API."""

    @property
    def folder(self) -> Path: ...

    def declared(self) -> dict[str, Any]: ...

    def kept(self, home: Path) -> Path: ...

    def stamp(self, lake: Lake) -> bytes: ...

    def objects(self, lake: Lake) -> list[Any]: ...

    def query(self, lake: Lake, path: str) -> str | None: ...


@contextmanager
def open_store(settings: Settings | None = None, repository: Declared | None = None) -> Iterator[OpenStore]:
    """Feast's store over the lake that the settings name, with the repository (default: the project's) applied.

    It is applied where a definition changed since the last time, or a file of it is gone.
    """
    settings, repository = settings or Settings(), repository or Repository.of_project()
    os.environ.setdefault("FEAST_USAGE", "False")
    import ibis
    from feast import FeatureStore

    lake = Lake.from_settings(settings)
    backend = _connect(lake, repository)
    before = ibis.options.default_backend
    ibis.set_backend(backend)
    try:
        store = FeatureStore(config=configured(settings, repository))
        _apply(store, settings, lake, repository)
        yield OpenStore(store, lake, backend)
    finally:
        ibis.options.default_backend = before
        backend.disconnect()


def _connect(lake: Lake, repository: Declared) -> Any:
    from ibis.backends.duckdb import Backend

    class Loaded(Backend):
        def _load_extensions(self, extensions: list[str], force_install: bool = False) -> None:
            """Nothing: they are loaded. ibis would look in folders that are closed, and download what it misses."""

        def read_delta(self, path: str | Path, /, **given: Any) -> Any:
            """As ibis does, but an address of a file stays one: ibis makes a path of it, with its %20 in it."""
            if query := repository.query(lake, str(path)):
                return self.sql(query)
            if str(path).startswith("file://"):
                return self.sql(f"select * from delta_scan({quoted(str(path))})")
            return super().read_delta(path, **given)

    backend: Any = Loaded().connect(memory_limit="1GB", threads=2)
    duck.teach(backend.con, [lake])
    duck.lock(backend.con, Reach((lake,)))
    return backend


def configured(settings: Settings, repository: Declared) -> Any:
    """Feast's configuration, with its files in the home."""
    from feast.repo_config import RepoConfig

    folder = repository.kept(settings.home.absolute())
    folder.mkdir(parents=True, exist_ok=True)
    declared = repository.declared()
    declared["registry"] = str(folder / "registry.db")
    if declared["online_store"]["type"] == "sqlite":
        declared["online_store"]["path"] = str(folder / "online.db")
    config = RepoConfig(**declared)
    config.repo_path = repository.folder
    return config


def _apply(store: FeatureStore, settings: Settings, lake: Lake, repository: Declared) -> None:
    folder = repository.kept(settings.home.absolute())
    stamp = hashlib.sha256(repository.stamp(lake)).hexdigest()
    marker, kept = folder / "applied", [folder / "registry.db"]
    if getattr(store.config.online_store, "type", None) == "sqlite":
        kept.append(folder / "online.db")  # applying makes its tables
    if all(f.exists() and f.stat().st_size for f in kept) and marker.exists() and marker.read_text() == stamp:
        return
    store.apply(repository.objects(lake), partial=False)
    marker.write_text(stamp)
