"""Airbyte's connections as assets, from a committed snapshot."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asgard_assets.components.airbyte.component import AirbyteSyncs, refresh_snapshot, snapshot_folders

__all__ = ["AirbyteSyncs", "refresh_snapshot", "snapshot_folders"]


def __dir__() -> list[str]:
    return __all__  # where `dg` looks for component types


def __getattr__(name: str) -> Any:
    """Import dagster-airbyte only where the component is asked for."""
    if name in __all__:
        from asgard_assets.components.airbyte import component

        return getattr(component, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
