"""How partitions follow their upstreams without anybody asking."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings

_EVER, _INSTANT = timedelta(days=365_000), timedelta(microseconds=1)
LOOKBACK, ALL = "lookback_days", "all"
"""Metadata of an asset that reads earlier days too: a number of days, `all`, or those by upstream stage/table."""


def on_upstream_change(looks_back_at: Sequence[dg.AssetKey] = ()) -> dg.AutomationCondition:
    """Materialize a partition that was never built, however old, and one whose upstream partitions were updated.

    Late data counts as an update, however old its day, as long as it lies within `ASGARD_LOOKBACK_DAYS` of
    the newest partition. Waits while an upstream is missing or being written. Of upstreams whose earlier days
    are read too (`looks_back_at`) an update only waits for the newest day that has ended: a day of long ago that never came must
    not hold back all that follow.

    An update is forgotten when the partition is asked for, and not when it is built: the run that is built may
    have read what was there before.
    """
    condition = dg.AutomationCondition
    window = condition.in_latest_time_window(timedelta(days=Settings().lookback_days))
    asked, first = condition.newly_requested(), condition.initial_evaluation()
    # What came in since the tick that asked is seen by the same tick as the asking.
    updated = condition.any_deps_updated()
    changed = updated.since((asked & ~updated) | first)
    unbuilt = condition.missing().newly_true().since(asked | condition.newly_updated())
    absent = ended() & condition.missing() & ~condition.will_be_requested()
    missing: dg.AutomationCondition = condition.any_deps_match(absent)
    if looks_back_at:
        earlier = dg.AssetSelection.assets(*looks_back_at)
        newest = condition.in_latest_time_window(timedelta(days=2))
        missing = condition.any_deps_match(absent).ignore(earlier) | condition.any_deps_match(
            newest & absent
        ).allow(earlier).with_label("newest_day_missing")
    wanted = (window & changed & ~missing) | (unbuilt & ~condition.any_deps_match(absent))
    return (wanted & ~condition.any_deps_in_progress() & ~condition.in_progress()).with_label(
        "on_upstream_change"
    )


def on_update() -> dg.AutomationCondition:
    """Ask for an asset that a run brings up to date as a whole, after each update of what it reads.

    An update is forgotten when the asset is asked for, and not when it is built: a run that ends in the same tick as
    another update comes may have read what was there before.
    """
    condition = dg.AutomationCondition
    updated = condition.any_deps_updated()
    changed = updated.since((condition.newly_requested() & ~updated) | condition.initial_evaluation())
    return (changed & ~condition.in_progress()).with_label("on_update")


def once_ended(
    condition: dg.AutomationCondition | None,
    partitions: dg.PartitionsDefinition | None,
    into_open: bool = False,
) -> dg.AutomationCondition | None:
    """The condition, but never for a window that is still open: what came into it is seen once it has ended.

    `into_open`: a window that is open is begun as soon as all its inputs are there. What comes into it later is the
    business of the sensor `following`, which has a pace.
    """
    open_too = isinstance(partitions, dg.TimeWindowPartitionsDefinition) and partitions.end_offset > 0
    if condition is None or not open_too:
        return condition
    if not into_open:
        return ended() & condition
    missing = dg.AutomationCondition.missing()
    begun: dg.AutomationCondition = missing & ~dg.AutomationCondition.any_deps_match(missing)
    return (ended() | begun) & condition


def ended() -> dg.AutomationCondition:
    """True of windows that have ended, and of assets without partitions.

    Of a calendar that goes on, the newest partition is the open one. No partition lies within its own last
    microsecond; an asset without partitions does.
    """
    condition = dg.AutomationCondition
    if Settings().calendar().has_ended(datetime.now(UTC)):
        return condition.in_latest_time_window(_EVER).with_label("window_has_ended")
    newest, nothing = condition.in_latest_time_window(), condition.in_latest_time_window(_INSTANT)
    return (~newest | nothing).with_label("window_has_ended")


def looking_back(specs: Sequence[dg.AssetSpec]) -> list[dg.AssetSpec]:
    """Give the assets of one op the edges that their `lookback_days` metadata declares.

    A day then depends on so many earlier days of its upstreams: a late correction reaches every day that looks
    back at it, and lineage, backfills and `asgard plan` know it. Within one op Dagster has one edge to an
    upstream: the longest lookback that any asset of the op declares. Raises ConfigError for what is no number.
    """
    inside = {spec.key for spec in specs}
    longest: dict[dg.AssetKey, int] = {}
    for spec in specs:
        for dep in spec.deps:
            days = _days(spec, dep.asset_key)
            if days and spec.partitions_def is not None and dep.asset_key not in inside:
                longest[dep.asset_key] = max(days, longest.get(dep.asset_key, 0))
    return [_with_edges(spec, longest) for spec in specs]


def _with_edges(spec: dg.AssetSpec, longest: Mapping[dg.AssetKey, int]) -> dg.AssetSpec:
    if spec.partitions_def is None or not any(dep.asset_key in longest for dep in spec.deps):
        return spec
    deps = [
        days_before(dep.asset_key, longest[dep.asset_key]) if dep.asset_key in longest else dep
        for dep in spec.deps
    ]
    spec = spec.replace_attributes(deps=deps)
    if spec.automation_condition is None:
        return spec
    looks_back_at = [dep.asset_key for dep in deps if dep.asset_key in longest]
    condition = once_ended(on_upstream_change(looks_back_at), spec.partitions_def, into_open=True)
    return spec.replace_attributes(automation_condition=condition)


def days_before(upstream: dg.AssetKey, days: int) -> dg.AssetDep:
    """An edge from a day to the same day of `upstream` and to so many days before it."""
    with warnings.catch_warnings():
        # The calendar's first days look back at days that it does not have; the parameter is marked beta.
        warnings.simplefilter("ignore", dg.BetaWarning)
        mapping = dg.TimeWindowPartitionMapping(
            start_offset=-days, allow_nonexistent_upstream_partitions=True
        )
    return dg.AssetDep(upstream, partition_mapping=mapping)


def _days(spec: dg.AssetSpec, upstream: dg.AssetKey) -> int:
    declared = lookback(spec, upstream)
    return Settings().lookback_days if declared == ALL else int(declared)


def lookback(spec: dg.AssetSpec, upstream: dg.AssetKey) -> int | str:
    """How many days before its own a partition reads of `upstream`: a number, or ALL of them."""
    declared: Any = spec.metadata.get(LOOKBACK, 0)
    if isinstance(declared, dg.JsonMetadataValue):
        declared = declared.value
    if isinstance(declared, Mapping):
        declared = declared.get(upstream.to_user_string(), 0)
    if declared == ALL or (isinstance(declared, int) and declared >= 0):
        return declared
    raise ConfigError(
        f"{spec.key.to_user_string()}: {LOOKBACK} is {declared!r}; write a number of days, all, or those by "
        "upstream, such as {silver/usage: 30}"
    )
