"""Puts what the wheel brings along into it: files of `deployments/`, under `asgard_assets/shipped`.

A checkout, installed in place, has them where they are.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHIPPED = ("local/dagster.yaml", "helm", "images", "project")


class Shipped(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root) / "deployments"
        for part in SHIPPED:
            build_data["force_include"][str(root / part)] = f"asgard_assets/shipped/{part}"
