"""Feast over the lake: its repository, its DuckDB, and a store that is opened and closed.

Feast reads Delta through ibis' default DuckDB. `open_store` gives it one that loads the extensions from
their wheels (nothing is downloaded), knows the lake's credentials, and is closed again afterwards.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake, duck
from asgard_assets.lake.duck import Reach
from asgard_assets.ml.views import FOLDER
from asgard_assets.settings import ROOT, Settings

if TYPE_CHECKING:
    from feast import FeatureStore

REPOSITORY = ROOT / "feature_repo"
SERVICE = "churn"


@dataclass(frozen=True)
class OpenStore:
    """A Feast store and the DuckDB through which it reads."""

    feast: FeatureStore
    lake: Lake
    duckdb: Any


@contextmanager
def open_store(settings: Settings | None = None) -> Iterator[OpenStore]:
    """Feast's store over the lake that the settings name, with the repository applied.

    It is applied where a definition changed since the last time, or a file of it is gone.
    """
    settings = settings or Settings()
    os.environ.setdefault("FEAST_USAGE", "False")
    import ibis
    from feast import FeatureStore

    lake = Lake.from_settings(settings)
    backend = _connect(lake)
    before = ibis.options.default_backend
    ibis.set_backend(backend)
    try:
        config = _config(settings)
        store = FeatureStore(config=config)
        _apply(store, settings, lake)
        yield OpenStore(store, lake, backend)
    finally:
        ibis.options.default_backend = before
        backend.disconnect()


def _connect(lake: Lake) -> Any:
    from ibis.backends.duckdb import Backend

    class Loaded(Backend):
        def _load_extensions(self, extensions: list[str], force_install: bool = False) -> None:
            """Nothing: they are loaded. ibis would look in folders that are closed, and download what it misses."""

    backend: Any = Loaded().connect(memory_limit="1GB", threads=2)
    duck.teach(backend.con, [lake])
    duck.lock(backend.con, Reach((lake,)))
    return backend


def _config(settings: Settings) -> Any:
    import yaml
    from feast.repo_config import RepoConfig

    folder = settings.home.absolute() / "feast"
    folder.mkdir(parents=True, exist_ok=True)
    declared = yaml.safe_load((REPOSITORY / "feature_store.yaml").read_text())
    declared["registry"] = str(folder / "registry.db")
    if declared["online_store"]["type"] == "sqlite":
        declared["online_store"]["path"] = str(folder / "online.db")
    config = RepoConfig(**declared)
    config.repo_path = REPOSITORY
    return config


def _apply(store: FeatureStore, settings: Settings, lake: Lake) -> None:
    folder = settings.home.absolute() / "feast"
    sources = [REPOSITORY / "definitions.py", *sorted(FOLDER.rglob("defs.yaml"))]
    stamp = hashlib.sha256(b"\0".join([lake.root.encode(), *(f.read_bytes() for f in sources)])).hexdigest()
    marker, kept = folder / "applied", [folder / "registry.db"]
    if getattr(store.config.online_store, "type", None) == "sqlite":
        kept.append(folder / "online.db")  # applying makes its tables
    if all(f.exists() and f.stat().st_size for f in kept) and marker.exists() and marker.read_text() == stamp:
        return
    store.apply(repository_objects(), partial=False)
    marker.write_text(stamp)


def repository_objects() -> list[Any]:
    """Every Feast object that `feature_repo/definitions.py` defines, as the feast CLI would collect them."""
    from feast import Entity, FeatureService, FeatureView
    from feast.data_source import DataSource
    from feast.on_demand_feature_view import OnDemandFeatureView

    kinds = (Entity, FeatureService, FeatureView, OnDemandFeatureView, DataSource)
    found = {id(value): value for value in vars(_repository()).values() if isinstance(value, kinds)}
    return list(found.values())


def _repository() -> ModuleType:
    name, file = "feature_repo.definitions", REPOSITORY / "definitions.py"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.exists():
        raise ConfigError(f"{file} is missing: the Feast repository must lie beside asgard_assets")
    module = importlib.util.module_from_spec(spec)
    # Feast reads the source of on-demand views through their module.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
