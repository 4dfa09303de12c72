"""An instance of the Airbyte component as a test looks at it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from asgard_assets.errors import ConfigError
from asgard_assets.resources.environment import resources
from tests.fakes.airbyte import load

NOBODY = "http://127.0.0.1:9"


def reason(error: BaseException) -> ConfigError:
    """The ConfigError under what Dagster wraps around it."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, ConfigError):
        found = found.__cause__
    assert isinstance(found, ConfigError)
    return found


def specs_of(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    """Every asset, by key, with the resources that Bronze tables need."""
    whole = dg.Definitions.merge(definitions, dg.Definitions(resources=resources()))
    return {spec.key.to_user_string(): spec for spec in whole.resolve_all_asset_specs()}


def materialize(folder: Path, *streams: str, raises: bool = True) -> dg.ExecuteInProcessResult:
    assets = [one for one in load(folder).assets or [] if one.op.name.startswith("airbyte")]  # type: ignore[union-attr]
    chosen = dg.AssetSelection.assets(*(["airbyte", stream] for stream in streams))
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(assets, instance=instance, selection=chosen, raise_on_error=raises)  # type: ignore[arg-type]
