"""Past runs, as Dagster recorded them, tell what the next one takes."""

import dagster as dg
import pytest

from asgard_assets.components.partitions import daily
from asgard_assets.operations.history import History, PastRun, history
from tests.patience import patience

KEY = dg.AssetKey(["bronze", "orders"])


def test_time_is_a_fixed_part_and_a_slope_of_past_runs():
    past = History(
        [PastRun(10 + size / 1e6, bytes=size, rows=size // 100) for size in (10**6, 5 * 10**6, 10**7)]
    )
    estimate = past.estimate("bytes", 20 * 10**6)
    assert estimate is not None
    assert estimate.seconds == pytest.approx(30)
    assert estimate.runs == 3 and estimate.error == pytest.approx(0, abs=1e-9)
    assert past.rows_per("bytes") == pytest.approx(0.01)


def test_what_was_never_measured_is_unknown_and_not_zero():
    assert History().estimate("bytes", 5) is None
    assert History([PastRun(3.0, partitions=1)]).estimate("bytes", 5) is None
    assert History().rows_per("bytes") is None


def test_runs_that_are_all_alike_err_on_the_dear_side_and_a_falling_line_is_level():
    alike = History([PastRun(10, bytes=100), PastRun(12, bytes=100)])
    assert alike.estimate("bytes", 200).seconds == pytest.approx(22)
    falling = History([PastRun(20, bytes=100), PastRun(10, bytes=200)])
    assert falling.estimate("bytes", 1000).seconds == pytest.approx(15)


def test_real_runs_are_read_back_with_their_own_seconds_and_figures():
    import time

    @dg.asset(key=KEY, partitions_def=daily(), backfill_policy=dg.BackfillPolicy.single_run())
    def orders(context: dg.AssetExecutionContext) -> None:
        time.sleep(0.3)
        for day in context.partition_keys:
            context.add_asset_metadata({"rows": 5, "bytes": 100, "files": 2}, partition_key=day)

    days = daily().get_partition_keys()
    tags = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[2]}
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([orders], instance=instance, tags=tags)
        dg.materialize([orders], instance=instance, partition_key=days[5])
        past = history(instance, KEY)
    assert sorted((r.partitions, r.rows, r.bytes, r.files) for r in past.runs) == [
        (1, 5, 100, 2),
        (3, 15, 300, 6),
    ]
    assert all(0.3 <= run.seconds < patience(60) for run in past.runs)
    assert past.per_partition("bytes") == 100
