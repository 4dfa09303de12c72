"""Descriptions of a component's fields, for `dg` and the UI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


def described(
    model: type[BaseModel] | None, component: Any, texts: Mapping[str, str]
) -> type[BaseModel] | None:
    """The model that Dagster derives from a component, with its descriptions.

    Dagster drops those of pydantic fields on the way, and its own components lack some; `texts` has these.
    """
    if model is None:
        return None
    own = getattr(component, "model_fields", {})
    for name, field in model.model_fields.items():
        if not field.description:
            field.description = texts.get(name) or getattr(own.get(name), "description", None)
    model.model_rebuild(force=True)
    return model
