"""Does a job keep to a rate, and does it use it? Judged by the server's own log.

    python -m tests.benchmarks.rate_limits                          # both cases, full counts (about 2 minutes)
    python -m tests.benchmarks.rate_limits --case declared --rows 1500

The server has a bucket of 500 tokens a second with a reserve of 50 and answers 429, Retry-After: 1 without
one. Two Spark tasks send. *declared*: the source says 500; at least 95 % of it are used, no sliding second
holds more than 105 %, less than 1 % of the requests are refused. *undeclared*: the source says nothing; after
the first 10 s at least 80 % are used, and less than 5 % of all requests are refused.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from tests.fakes.rated_api import fullest_second
from tests.fakes.rated_server import log_of, rated_server

RATE = 500
ROWS = {"declared": 15_000, "undeclared": 30_000}
LEFT_OUT_SECONDS = {"declared": 0.0, "undeclared": 10.0}


@dataclass(frozen=True)
class Verdict:
    case: str
    rows: int
    succeeded: int
    requests: int
    used: float
    fullest: float
    wasted: float

    @property
    def passed(self) -> bool:
        if self.succeeded != self.rows:
            return False
        if self.case == "declared":
            return self.used >= 0.95 and self.fullest <= 1.05 and self.wasted < 0.01
        return self.used >= 0.80 and self.wasted < 0.05

    def __str__(self) -> str:
        return (
            f"{self.case:>10}: {self.rows} rows, {self.succeeded} succeeded, {self.requests} requests; "
            f"used {self.used:.1%} of {RATE}/s, fullest second {self.fullest:.1%}, refused {self.wasted:.2%}: "
            f"{'PASS' if self.passed else 'FAIL'}"
        )


def judge(
    case: str, rows: int, succeeded: int, arrivals: Sequence[float], refused: Sequence[float]
) -> Verdict:
    """The verdict from the server's log; the left-out seconds count for what was refused alone."""
    since = arrivals[0] + LEFT_OUT_SECONDS[case]
    kept = [at for at in arrivals if at >= since]
    good = len(kept) - sum(at >= since for at in refused)
    used = good / (kept[-1] - kept[0]) / RATE
    return Verdict(
        case, rows, succeeded, len(arrivals), used, fullest_second(kept) / RATE, len(refused) / len(arrivals)
    )


def measure(case: str, rows: int, spark: object, lake: object) -> Verdict:
    """One run of the engine against a server of its own."""
    from asgard_assets.ingest.api.pipeline import run_pipeline
    from asgard_assets.ingest.api.source.models import ApiSource
    from asgard_assets.lake import Lake

    assert isinstance(lake, Lake)
    with rated_server(RATE, RATE / 10) as url:
        source = ApiSource.model_validate(
            {
                "name": f"rated_{case}",
                "form": {"type": "row", "rows": {"key": {"id": "bigint"}}},
                "endpoint": {"base_url": url, "path": "/items/{row.id}"},
                "limits": {"requests_per_second": RATE if case == "declared" else None},
                "execution": {"tasks": 2},
                "sink": {"table": f"bronze/rated_{case}"},
                "quality": {"description": "Records of a limited API."},
            }
        )
        frame = spark.range(1, rows + 1)  # type: ignore[attr-defined]
        summary = run_pipeline(spark, source, frame, days=["2026-10-05"], lake=lake)  # type: ignore[arg-type]
        return judge(case, rows, summary.succeeded, *log_of(url))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--case", choices=[*ROWS], action="append")
    parser.add_argument("--rows", type=int, help="default: the full counts")
    given = parser.parse_args(arguments)
    os.environ["ASGARD_HOME"] = tempfile.mkdtemp(prefix="asgard-rates-")

    from asgard_assets.lake import Lake
    from asgard_assets.settings import Settings
    from asgard_assets.spark.session import open_session

    spark, lake = open_session(), Lake.from_settings(Settings())
    verdicts = [measure(case, given.rows or ROWS[case], spark, lake) for case in given.case or ROWS]
    spark.stop()
    load = psutil.getloadavg()[0]
    lines = [*map(str, verdicts), f"load average {load:.1f} on {psutil.cpu_count()} cores"]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if all(verdict.passed for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
