"""A dbt project's models as assets."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asgard_assets.components.dbt.component import DbtModels

__all__ = ["DbtModels"]


def __dir__() -> list[str]:
    return __all__  # where `dg` looks for component types


def __getattr__(name: str) -> Any:
    """Import dagster-dbt and dbt, seconds of work, only where the component is asked for."""
    if name == "DbtModels":
        from asgard_assets.components.dbt.component import DbtModels

        return DbtModels
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
