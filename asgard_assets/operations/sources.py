"""The project's file sources by name, and runs of their assets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asgard_assets.components.files import SOURCE
from asgard_assets.errors import ConfigError, LakeError
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.settings import ROOT
from asgard_assets.windows import stretches

if TYPE_CHECKING:
    import dagster as dg


def file_sources(definitions: dg.Definitions | None = None) -> dict[str, FileSource]:
    """Every file source that the code location has an asset for."""
    found = {}
    for spec in (definitions or load_definitions()).resolve_all_asset_specs():
        if told := spec.metadata.get(SOURCE):
            source = FileSource.model_validate(told.value if hasattr(told, "value") else told)
            found[source.name] = source
    return found


def file_source(name: str, definitions: dg.Definitions | None = None) -> FileSource:
    """The source of that name. Raises ConfigError that lists those which exist."""
    sources = file_sources(definitions)
    if name not in sources:
        raise ConfigError(f"there is no file source {name!r}; the project has {', '.join(sorted(sources))}")
    return sources[name]


def load_definitions() -> dg.Definitions:
    from asgard_assets.definitions import defs

    return defs()


def materialize(asset: str, days: Sequence[str], config: Mapping[str, Any] | None = None) -> None:
    """Run one asset for these days, a run for each gapless stretch, as `dagster asset materialize` does.

    Its output goes to this terminal. Raises LakeError naming the days whose run failed; the others are done.
    """
    failed = []
    for stretch in stretches(days):
        chosen = ["--partition", stretch[0]]
        if len(stretch) > 1:
            chosen = ["--partition-range", f"{stretch[0]}...{stretch[-1]}"]
        command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "asgard_assets.definitions"]
        command += ["--select", f'key:"{asset}"', *chosen]
        if config:
            command += ["--config-json", json.dumps(config)]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(stretch[0] if len(stretch) == 1 else f"{stretch[0]}...{stretch[-1]}")
    if failed:
        raise LakeError(
            f"{asset}: the run of {', '.join(failed)} failed; what it says stands above", table=asset
        )
