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
from asgard_assets.ml.servers import identity, is_there, online_config
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore


_STAMP = "asgard_definitions"


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

    It is applied where a definition, the lake or the online store is another one than the last time.
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
    """Feast's configuration: registry and online store where the settings say, else in the home."""
    from feast.repo_config import RepoConfig

    folder = repository.kept(settings.home.absolute())
    folder.mkdir(parents=True, exist_ok=True)
    declared = repository.declared()
    declared["registry"] = _registry(settings, folder)
    if settings.online_store:
        declared["online_store"] = online_config(settings.online_store)
    if declared["online_store"]["type"] == "sqlite":
        settings.refuse_home("ASGARD_ONLINE_STORE", "the values of the online store", "redis://host:6379/0")
        declared["online_store"]["path"] = str(folder / "online.db")
    config = RepoConfig(**declared)
    config.repo_path = repository.folder
    return config


def _registry(settings: Settings, folder: Path) -> str | dict[str, Any]:
    if not settings.feast_registry:
        settings.refuse_home("ASGARD_FEAST_REGISTRY", "Feast's registry", "postgresql://…/feast")
        return str(folder / "registry.db")
    scheme, _, rest = settings.feast_registry.partition("://")
    driver = "postgresql+psycopg" if scheme in ("postgresql", "postgres") else scheme
    # Another pod may apply: what is known of it is no older than this.
    return {"registry_type": "sql", "path": f"{driver}://{rest}", "cache_ttl_seconds": 30}


def _apply(store: FeatureStore, settings: Settings, lake: Lake, repository: Declared) -> None:
    """Tell the registry of the definitions, unless it has just these: it remembers their hash."""
    from feast import Project
    from feast.errors import FeastObjectNotFoundException

    parts = [repository.stamp(lake), identity(store.config.online_store).encode()]
    stamp = hashlib.sha256(b"\0".join(parts)).hexdigest()
    try:
        known = store.registry.get_project(store.project).tags.get(_STAMP)
    except FeastObjectNotFoundException:
        known = None
    if known == stamp and is_there(store):
        return
    project = Project(name=store.project, tags={_STAMP: stamp})
    wanted = repository.objects(lake)
    store.apply([project, *wanted], objects_to_delete=_gone(store, wanted), partial=False)
    (repository.kept(settings.home.absolute()) / "applied").write_text(
        stamp
    )  # who has it open opens it again


def _gone(store: FeatureStore, wanted: list[Any]) -> list[Any]:
    """What the registry has and no file declares any more; Feast keeps it, with its online values, unless it is told."""
    kept = {(type(each), each.name) for each in wanted}
    kept |= {
        (type(each.batch_source), each.batch_source.name) for each in wanted if hasattr(each, "batch_source")
    }
    known: list[Any] = [
        *store.list_feature_services(),
        *store.list_on_demand_feature_views(),
        *store.list_feature_views(),
        *store.list_entities(),
        *store.list_data_sources(),
    ]
    return [each for each in known if (type(each), each.name) not in kept]
