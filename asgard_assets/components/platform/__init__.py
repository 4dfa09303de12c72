"""What every project gets from the platform: its resources, maintenance, automation and alerts."""

from asgard_assets.components.platform.component import Upkeep
from asgard_assets.components.platform.project import project_definitions

__all__ = ["Upkeep", "project_definitions"]
