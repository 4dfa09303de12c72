"""Clearing the landing folder of files that are in the table: moved away or deleted, some days later.

Off unless the source says `clean`. A file goes only when the manifest knows it exactly as it lies there, so
nothing that was never loaded, or changed since, is touched. Its rows stay: a load leaves what is gone alone.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.listing import file_states
from asgard_assets.ingest.files.models import FileSource
from asgard_assets.lake import Lake


@dataclass
class Cleaned:
    """What went, or would go."""

    files: int = 0
    bytes: int = 0
    left: int = 0


def clean(
    lake: Lake, landing: Landing, source: FileSource, dry_run: bool = False, now: datetime | None = None
) -> Cleaned:
    """Move or delete loaded files that were last changed `after_days` ago. Raises ConfigError where it is off."""
    if source.clean is None:
        raise ConfigError(
            f"{source.name}: cleaning is off; say `clean: {{action: move, after_days: 30}}` in its defs.yaml"
        )
    before = ((now or datetime.now(UTC)) - timedelta(days=source.clean.after_days)).timestamp() * 1e6
    done = Cleaned()
    for state in file_states(lake, landing, source, {"loaded"}):
        if state.modified_us >= before:
            done.left += 1
            continue
        found = landing.look(state.path)
        if found is None or (found.size, found.modified_us) != (state.size, state.modified_us):
            done.left += 1  # replaced since the listing: it has to be loaded first
            continue
        done.files, done.bytes = done.files + 1, done.bytes + state.size
        if not dry_run:
            _remove(landing, state.path, source.clean.to if source.clean.action == "move" else None)
    return done


def _remove(landing: Landing, path: str, to: str | None) -> None:
    full = landing.full(path)
    if to is not None:
        target = landing.full(f"{to}/{path}")
        if landing.remote:
            landing.filesystem.copy_file(full, target)
        else:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(full, target)
            return
    landing.filesystem.delete_file(full)
