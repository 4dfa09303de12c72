"""A dbt project's models as assets."""

from asgard_assets.components.dbt.component import DbtModels

__all__ = ["DbtModels"]
