"""A declared rate from two Spark workers, judged by the server's log; full counts: tests/benchmarks/rate_limits.py."""

from __future__ import annotations

import pytest

from tests.benchmarks.rate_limits import measure


@pytest.mark.servers
def test_two_workers_together_keep_to_a_declared_rate(spark, lake):
    verdicts = []
    for _ in range(3):
        # A machine that stands still bunches what left evenly; one that bursts by itself does so every time.
        verdicts.append(measure("declared", 1_500, spark, lake))
        assert verdicts[-1].succeeded == 1_500
        if verdicts[-1].fullest <= 1.05 and verdicts[-1].wasted < 0.01:
            break
    else:
        pytest.fail("\n".join(map(str, verdicts)))
    # How much of it is used is up to the machine here; test_budget.py tells in virtual time.
    assert verdicts[-1].used >= 0.4
