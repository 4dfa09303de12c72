"""Clearing the landing folder of files that are in the table: moved away or deleted, some days later.

Off unless the source says `clean`. A file goes only when the manifest knows it exactly as it lies there, so
nothing that was never loaded, or changed since, is touched. Its rows stay: a load leaves what is gone alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.files.landing import bounds
from asgard_assets.ingest.files.landing.area import File, Landing
from asgard_assets.ingest.files.plan.listing import file_states
from asgard_assets.ingest.files.source.models import Clean, FileSource
from asgard_assets.lake import Lake


@dataclass
class Cleaned:
    """What went, or would go; `refused` says of which files links lead out of the landing root."""

    files: int = 0
    bytes: int = 0
    left: int = 0
    refused: list[str] = field(default_factory=list[str])


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
        if found is None or found.version != state.version:
            done.left += 1  # replaced since the listing: it has to be loaded first
            continue
        try:
            landing.refuse_outside(found.path)
            went = dry_run or _remove(landing, found, source.clean)
        except SourceError as error:
            if landing.remote:
                raise
            done.refused.append(error.message)
            went = False
        if not went:
            done.left += 1
            continue
        done.files, done.bytes = done.files + 1, done.bytes + state.size
    return done


def _remove(landing: Landing, file: File, how: Clean) -> bool:
    """Take the file away. False where it was replaced in this very moment, and stays."""
    to = f"{how.to.strip('/')}/{file.path}" if how.action == "move" else None
    if landing.remote:
        return _remove_object(landing, to, file)
    if to is None:
        bounds.remove(landing.root, file.path)
    else:
        bounds.move(landing.root, file.path, to)
    return True


def _remove_object(landing: Landing, to: str | None, file: File) -> bool:
    try:
        if to is not None and not landing.copy(file.path, to, file.etag):
            return False
    except OSError as error:
        raise SourceError(f"{file.path} cannot be moved: {error}", source=file.path) from error
    try:
        landing.delete(file.path)
    except OSError as error:
        raise SourceError(f"{file.path} cannot be removed: {error}", source=file.path) from error
    return True
