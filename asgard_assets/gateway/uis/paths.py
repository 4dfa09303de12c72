"""Which paths are those of the other pages."""

from __future__ import annotations

from typing import get_args

from asgard_assets.settings import UiName

UI_NAMES: tuple[UiName, ...] = get_args(UiName)
_OF_THE_API = "/feast/features"
"""The REST API has had this path before Feast's page stood at /feast, which has nothing there."""


def ui_of(path: str) -> UiName | None:
    """Whose page a path belongs to."""
    if path == _OF_THE_API or path.startswith(f"{_OF_THE_API}/"):
        return None
    for name in UI_NAMES:
        if path == f"/{name}" or path.startswith(f"/{name}/"):
            return name
    return None
