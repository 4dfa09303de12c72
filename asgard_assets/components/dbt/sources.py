"""Freshness that dbt's YAML asks of its sources, given to the assets that they are."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

import dagster as dg

_PERIODS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
_ASKED = "asgard/dbt_source_freshness"


def says_freshness(source: Mapping[str, Any]) -> bool:
    """Can `dbt source freshness` look at it? It needs limits, and a column or a query that tells when it was loaded."""
    limits = source.get("freshness") or {}
    asked = any(_seconds(limits.get(limit)) for limit in ("warn_after", "error_after"))
    config = source.get("config") or {}
    told = ("loaded_at_field", "loaded_at_query")
    return asked and any(source.get(each) or config.get(each) for each in told)


def source_freshness(name: str, sources: Mapping[dg.AssetKey, Mapping[str, Any]]) -> dict[str, Any]:
    """Metadata of a component's definitions: what dbt asks of each source, for `with_source_freshness`."""
    asked = {}
    for key, source in sources.items():
        declared = source.get("freshness") or {}
        warn, fail = (_seconds(declared.get(limit)) for limit in ("warn_after", "error_after"))
        if warn or fail:
            asked[key.to_user_string()] = {
                "warn": warn if fail and warn and warn < fail else None,
                "fail": fail or warn,
                "description": source.get("description") or None,
            }
    return {f"{_ASKED}/{name}": dg.MetadataValue.json(asked)} if asked else {}


def with_source_freshness(loaded: dg.Definitions) -> dg.Definitions:
    """Definitions in which each dbt source that declares freshness has it as a freshness policy.

    A source is an asset of another stage, which keeps all else that it is; where nobody here makes it, it
    becomes an external asset.
    """
    asked: dict[dg.AssetKey, Mapping[str, Any]] = {}
    for name, value in (loaded.metadata or {}).items():
        if name.startswith(_ASKED):
            found = cast(Mapping[str, Mapping[str, Any]], value.value)
            asked |= {dg.AssetKey.from_user_string(key): limits for key, limits in found.items()}
    if not asked:
        return loaded
    policies = {
        key: dg.FreshnessPolicy.time_window(
            fail_window=timedelta(seconds=limits["fail"]),
            warn_window=timedelta(seconds=limits["warn"]) if limits["warn"] else None,
        )
        for key, limits in asked.items()
    }
    with warnings.catch_warnings():
        # In preview in the pinned Dagster; a change of it shows in the tests.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        fresh = loaded.map_asset_specs(
            func=lambda spec: (
                spec.replace_attributes(freshness_policy=policies[spec.key]) if spec.key in policies else spec
            )
        )
    made = {spec.key for spec in fresh.resolve_all_asset_specs()}
    external = [
        dg.AssetSpec(key, description=asked[key]["description"], freshness_policy=policy, kinds={"dbt"})
        for key, policy in policies.items()
        if key not in made
    ]
    return dg.Definitions.merge(fresh, dg.Definitions(assets=external))


def _seconds(limit: Mapping[str, Any] | None) -> float | None:
    if not limit or not limit.get("count"):
        return None
    return (int(limit["count"]) * _PERIODS[limit.get("period") or "hour"]).total_seconds()
