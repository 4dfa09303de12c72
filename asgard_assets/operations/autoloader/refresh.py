"""What a run of files would load, before it is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from asgard_assets.components.platform.definitions import ManagedDefinition
from asgard_assets.ingest.files.plan.listing import State, file_states
from asgard_assets.ingest.files.plan.quarantine import quarantined
from asgard_assets.lake import Lake
from asgard_assets.operations.autoloader.ingestions import Ingestions
from asgard_assets.operations.partitions import Span
from asgard_assets.revisions import Numbered

_SHOWN = 100
_STATES: dict[str, set[State]] = {
    "changed": {"pending", "changed", "failed"},
    "all": {"pending", "changed", "failed", "loaded"},
    "quarantined": {"failed", "loaded", "changed"},
}


@dataclass(frozen=True)
class Refresh:
    """Files by window, and the first of them by name. None of a source that has no files: that is known once it was asked."""

    files: int | None = None
    bytes: int | None = None
    partitions: Mapping[str, int] = field(default_factory=dict[str, int])
    shown: tuple[str, ...] = ()


def refresh(
    lake: Lake, ingestions: Ingestions, found: Numbered[ManagedDefinition], ask: str, partitions: str
) -> Refresh:
    """Lists files, and reads none of them. Raises ConfigError where the windows are none."""
    span, source = Span.parse(partitions), ingestions.file_source(found)
    if source is None:
        return Refresh()
    again = {path for paths in quarantined(lake, source.name).values() for path in paths}
    windows, shown, size = dict[str, int](), list[str](), 0
    for state in file_states(lake, ingestions.landing, source, _STATES[ask]):
        if (span and not span.holds(state.ds, source.calendar)) or (
            ask == "quarantined" and state.path not in again
        ):
            continue
        windows[state.ds] = windows.get(state.ds, 0) + 1
        size += state.size
        if len(shown) < _SHOWN:
            shown.append(state.path)
    return Refresh(sum(windows.values()), size, dict(sorted(windows.items())), tuple(shown))
