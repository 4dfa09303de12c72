"""Where "open in editor" leads: the file that defines an asset."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

_KEY = "dagster/code_references"


def defined_in(file: str | Path, line: int = 1) -> dict[str, Any]:
    """Metadata of an asset that this line of a file defines."""
    with warnings.catch_warnings():
        # In beta in the pinned Dagster; a change of it shows in the tests.
        warnings.simplefilter("ignore", dg.BetaWarning)
        reference = dg.LocalFileCodeReference(file_path=str(file), line_number=line)
        return {_KEY: dg.CodeReferencesMetadataValue(code_references=[reference])}


def defined_by(function: Callable[..., Any]) -> dict[str, Any]:
    """Metadata of an asset that this function defines."""
    code = function.__code__
    return defined_in(code.co_filename, code.co_firstlineno)


def with_code_references(loaded: dg.Definitions) -> dg.Definitions:
    """Definitions in which each asset without a code reference gets one to the Python function that makes it."""
    found: dict[dg.AssetKey, dict[str, Any]] = {}
    for asset in loaded.assets or ():
        if isinstance(asset, dg.AssetsDefinition) and asset.is_executable:
            bare = [spec.key for spec in asset.specs if _KEY not in spec.metadata]
            function: Any = getattr(getattr(asset.node_def, "compute_fn", None), "decorated_fn", None)
            if bare and hasattr(function, "__code__"):
                found |= dict.fromkeys(bare, defined_by(function))
    if not found:
        return loaded
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # as above
        return loaded.map_asset_specs(
            func=lambda spec: spec.merge_attributes(metadata=found[spec.key]) if spec.key in found else spec
        )
