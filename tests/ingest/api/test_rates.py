"""A declared rate from two Spark workers, judged by the server's log; full counts: tests/benchmarks/rate_limits.py."""

from __future__ import annotations

import pytest

from tests.benchmarks.rate_limits import measure


@pytest.mark.servers
def test_two_workers_together_keep_to_a_declared_rate(spark, lake):
    verdict = measure("declared", 1_500, spark, lake)
    assert verdict.succeeded == 1_500
    assert verdict.fullest <= 1.05
    assert verdict.wasted < 0.01
    # How much of it is used is up to the machine here; test_budget.py tells in virtual time.
    assert verdict.used >= 0.6
