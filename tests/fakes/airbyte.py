"""The development server's parts around the fake source, in the test's own process and folders."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from deployments.local.airbyte.connector import Limits
from deployments.local.airbyte.jobs import Job, Store
from deployments.local.airbyte.login import Login
from deployments.local.airbyte.registry import Registry
from deployments.local.airbyte.server import listen
from deployments.local.airbyte.syncs import Syncs
from deployments.local.airbyte.workspace import Workspace
from tests.patience import patience

SOURCE = Path(__file__).with_name("airbyte_source.py")


class Fake:
    """One workspace over the fake source, with one connection unless `connections` says otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.landing, self.state = folder, folder / "landing", folder / "state"
        self.command = folder / "source-fake"
        self.command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{SOURCE}" "$@"\n')
        self.command.chmod(0o755)

    def open(
        self,
        config: dict[str, Any] | None = None,
        sync: str = "full_refresh_overwrite",
        streams: tuple[str, ...] = ("users",),
        limits: Limits | None = None,
        names: tuple[str, ...] = ("fake",),
        prefixes: bool = False,
        checkpoint_seconds: float = 3600,
        day: str = "2026-10-05",
        **more: Any,
    ) -> Syncs:
        """As a server's start does: recovers what an earlier one left in the same folders."""
        connections = [
            {
                "name": name,
                "source": "source-fake",
                "config": config or {},
                "prefix": f"{name}_" if prefixes else "",
                "streams": [{"name": stream, "sync": sync} for stream in streams],
                **more,
            }
            for name in names
        ]
        workspace = Workspace.model_validate({"name": "test", "connections": connections})
        store = Store(self.state, self.landing)
        registry = Registry(workspace, self.state)
        limits = limits or Limits(seconds=patience(60))
        stamp = date.fromisoformat(day)
        return Syncs(registry, store, self.landing, lambda _: self.command, stamp, limits, checkpoint_seconds)

    def files(self, stream: str = "users") -> list[Path]:
        return sorted((self.landing / stream).glob("*"))

    def rows(self, stream: str = "users") -> list[dict[str, Any]]:
        return landed(self.landing / stream)


def landed(folder: Path) -> list[dict[str, Any]]:
    """The rows of a stream's folder, whatever their format, as Python values."""
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*")):
        if path.suffix == ".parquet":
            rows += pq.read_table(path).to_pylist()
            continue
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            rows += [json.loads(line) for line in file]
    return rows


def only_id(syncs: Syncs) -> str:
    return next(iter(syncs.registry.by_id()))


def start(syncs: Syncs) -> Job:
    return syncs.start(only_id(syncs))


def wait(syncs: Syncs, job: Job, seconds: float = 30) -> Job:
    deadline = time.monotonic() + patience(seconds)
    while time.monotonic() < deadline:
        found = syncs.store.job(job.id)
        assert found is not None
        if not found.active and not syncs.store.committed(job.id):
            return found
        time.sleep(0.01)
    raise AssertionError(f"job {job.id} did not end in {seconds} s")


def run(syncs: Syncs) -> Job:
    return wait(syncs, start(syncs))


@contextmanager
def serving(syncs: Syncs, port: int = 0, login: Login | None = None) -> Iterator[str]:
    """The server's address, for as long as the block runs."""
    server = listen(syncs, port, login or Login())
    syncs.resume()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        syncs.stop()
        server.server_close()


def write_instance(
    folder: Path,
    workspace_id: str,
    poll_timeout: float | None = None,
    patience: float | None = None,
    **attributes: Any,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    workspace = {"workspace_id": workspace_id, "poll_interval": 0.05, "request_retry_delay": 0.01}
    if poll_timeout is not None:
        workspace["poll_timeout"] = poll_timeout
    if patience is not None:
        workspace["patience_seconds"] = patience
    content = {
        "type": "asgard_assets.components.airbyte.AirbyteSyncs",
        "attributes": {"workspace": workspace, **attributes},
    }
    (folder / "defs.yaml").write_text(yaml.safe_dump(content))
    return folder


def load(folder: Path) -> dg.Definitions:
    """Load a component instance as a code location does, in a project with nothing else in it."""
    project = folder.parent / "project"
    shutil.rmtree(project, ignore_errors=True)
    defs = project / f"loaded_{folder.parent.name}" / "defs"
    shutil.copytree(folder, defs / "airbyte")
    (defs / "__init__.py").touch()
    (defs.parent / "__init__.py").touch()
    root = defs.parent.name
    (project / "pyproject.toml").write_text(
        f'[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "{root}"\n'
    )
    sys.path.insert(0, str(project))
    try:
        return dg.ComponentTree.for_project(project).build_defs_at_path("airbyte")
    finally:
        sys.path.remove(str(project))
        for name in [n for n in list(sys.modules) if n == root or n.startswith(root + ".")]:
            del sys.modules[name]
