"""Airbyte's connections as assets, from a committed snapshot."""

from asgard_assets.components.airbyte.component import AirbyteSyncs, refresh_snapshot, snapshot_folders

__all__ = ["AirbyteSyncs", "refresh_snapshot", "snapshot_folders"]
