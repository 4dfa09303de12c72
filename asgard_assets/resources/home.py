"""The Dagster home of a local deployment: one folder, so that CLI, UI and daemon share their history."""

from __future__ import annotations

import os
from pathlib import Path

from asgard_assets.project import shipped
from asgard_assets.roots import owned
from asgard_assets.settings import Settings

SHIPPED = shipped("local/dagster.yaml")


def prepare_home(settings: Settings | None = None) -> Path:
    """The folder to set as DAGSTER_HOME, with the shipped dagster.yaml in it.

    Safe to call at any time and from several processes: the file is replaced whole, and only if it differs.
    """
    settings = settings or Settings()
    home = owned(settings.home.absolute()) / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    target, wanted = home / "dagster.yaml", SHIPPED.read_bytes()
    if not target.is_file() or target.read_bytes() != wanted:
        new = home / f".dagster.yaml.{os.getpid()}"
        new.write_bytes(wanted)
        os.replace(new, target)
    return home
