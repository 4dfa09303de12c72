"""How partitions follow their upstreams without anybody asking."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from asgard_assets.settings import Settings


def on_upstream_change() -> dg.AutomationCondition:
    """Materialize a partition of the lookback window when one of its upstream partitions was updated.

    Late data counts as an update, however old its day, as long as it lies within `ASGARD_LOOKBACK_DAYS` of
    the newest partition. Waits while an upstream is missing or being written.
    """
    window = dg.AutomationCondition.in_latest_time_window(timedelta(days=Settings().lookback_days))
    changed = dg.AutomationCondition.any_deps_updated().since_last_handled()
    return (
        window
        & changed
        & ~dg.AutomationCondition.any_deps_missing()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    ).with_label("on_upstream_change")
