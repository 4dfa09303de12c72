"""Who sends a job's requests: this process, or Spark's workers. The task is the same in both places.

A Spark job for a few requests is nearly all start-up. A list is walked page by page, so that more workers do
not make one walk faster. What is known before is the number of rows; what a list holds, a day's or a
parent row's, shows while it is walked: walks are begun a few at a time, and when the job has grown, those that have
not begun go to Spark.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.access.auth import references
from asgard_assets.ingest.api.access.service import JobService
from asgard_assets.ingest.api.job import Job
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.secrets import variable, withheld
from asgard_assets.ingest.api.table.figures import Figures
from asgard_assets.ingest.api.worker import run_files, sender
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    Spark = SparkSession | Callable[[], SparkSession]
    """A session that is open, which is then used; or what opens one, which is called where it is needed."""

log = logging.getLogger(__name__)

_FIRST_FILES = 8
_FILES_OF_WALKS = (
    128  # over which the walks of parents are dealt, so that some are left when the job has grown
)


@dataclass
class Execution:
    """Decides where a job runs, and runs it. `ran_in` and `why` say what was decided.

    `most` is the number of requests up to which this process sends them itself.
    """

    spark: Spark
    source: ApiSource
    most: int
    ran_in: str = field(default="process", init=False)
    why: str = field(default="", init=False)
    _first: int = field(default=_FIRST_FILES, init=False)  # files of walks that are begun before a look

    def __post_init__(self) -> None:
        chosen = self.source.execution.run_in
        if Settings().launcher == "connect" and callable(self.spark):
            self._refuse_workers()
            self.ran_in, self.why = "process", "a Spark Connect server lends no workers for requests"
        elif chosen != "auto":
            self.ran_in, self.why = chosen, "execution.run_in says so"
        elif not callable(self.spark):
            self.ran_in, self.why = "spark", "a session was open"
        elif self.source.middleware:
            self.ran_in, self.why = "spark", "own middleware must not see other sources' secrets"

    def _refuse_workers(self) -> None:
        """Workers of a server that others use too inherit its environment: secrets of other sources are not withheld there."""
        wanted = "execution.run_in: spark" if self.source.execution.run_in == "spark" else "middleware"
        if wanted == "middleware" and not self.source.middleware:
            return
        raise ConfigError(
            f"{self.source.name}: {wanted} needs workers of its own, which ASGARD_LAUNCHER=connect does not have: they would "
            "see secrets of other sources. Run this source with ASGARD_LAUNCHER=none, spark-submit or kubernetes"
            + ("" if wanted == "middleware" else ", or take run_in: auto, which sends from the run's process")
        )

    def session(self) -> SparkSession:
        if callable(self.spark):
            self.spark = self.spark()
        return self.spark

    def tasks(self, requests: int) -> int:
        """How many files the plan of so many requests, or of so many parents' walks, is dealt out to. Decides,
        where the number says it: a walk is a request at least.
        """
        single = self.source.one_request_a_row
        if not self.why and requests > self.most:
            what = "requests" if single else "walks"
            self.ran_in, self.why = "spark", f"{requests:,} {what}, more than {self.most:,}"
        if self.ran_in == "process":
            files = 1 if single or self.why else min(requests, _FILES_OF_WALKS)
            if self.source.rows is not None:  # as many parents as are walked side by side
                in_a_file = max(1, -(-requests // max(1, files)))
                self._first = max(_FIRST_FILES, -(-self.source.limits.max_in_flight // in_a_file))
            return files
        return self.source.execution.tasks or self.session().sparkContext.defaultParallelism

    def run(self, job: Job, service: JobService, files: int) -> Figures:
        """Send what the plan's files hold."""
        if self.ran_in == "spark":
            return self._in_spark(job, service, range(files))
        # Single requests were counted; of walks nobody knows how long they are.
        grown = None if job.source.one_request_a_row else self._grown
        figures, rest = _in_process(job, service, files, self._first if grown else files, grown)
        if not self.why:
            self.why = f"{figures.requests:,} requests, no more than {self.most:,}"
            if figures.requests > self.most:
                self.why = f"{figures.requests:,} requests, but no walk was left to share"
        if rest:
            self.ran_in = "process, then spark"
            left = (
                f"{len(rest)} walks" if job.source.rows is None else "walks"
            )  # a file may hold several parents
            self.why = f"{figures.requests:,} requests, more than {self.most:,}, and {left} left"
            log.info("%s: %s", self.source.name, self.why)
            more = self._in_spark(job, service, rest)
            figures = _one_after_the_other([figures, more])
        return figures

    def _grown(self, requests: int) -> bool:
        return not self.why and requests > self.most

    def _in_spark(self, job: Job, service: JobService, files: Sequence[int]) -> Figures:
        """The Spark job. No shuffle stands above the network call, so that none can make it run twice."""
        if not files:
            return Figures()
        spark = self.session()
        conf = spark.sparkContext.getConf()
        host = conf.get("spark.driver.host", "127.0.0.1")
        assert host is not None
        job = replace(job, service=service.address(host, conf.get("spark.driver.bindAddress", host) or host))
        most = self.source.execution.tasks or spark.sparkContext.defaultParallelism
        dealt = [files[task::most] for task in range(min(most, len(files)))]
        with _environment(spark, self.source):
            frame = spark.range(0, len(dealt), 1, len(dealt))
            handed = frame.mapInArrow(sender(job, dealt), "figures string").collect()
        return Figures.total(row[0] for row in handed)


def _in_process(
    job: Job, service: JobService, files: int, rounds: int, grown: Callable[[int], bool] | None
) -> tuple[Figures, Sequence[int]]:
    """The first `rounds` files, then twice as many, until `grown` says that the requests so far are too many. The
    files that are left come back.
    """
    job = replace(job, service=service.local())
    done, next_file = list[Figures](), 0
    while next_file < files:
        if grown and grown(sum(figures.requests for figures in done)):
            break
        some = range(next_file, min(files, next_file + rounds))
        done.append(run_files(job, some, f"{next_file:05d}", usable=any(one.usable for one in done)))
        next_file, rounds = some.stop, rounds * 2
        if done[-1].aborted:  # the API refuses or is not there: the job fails, and nothing more is sent
            next_file = files
    return _one_after_the_other(done), range(next_file, files)


def _one_after_the_other(parts: Sequence[Figures]) -> Figures:
    total = Figures.total(part.to_json() for part in parts)
    total.seconds = sum(part.seconds for part in parts)
    total.max_in_flight = max((part.max_in_flight for part in parts), default=0)
    total.workers = list(dict.fromkeys(total.workers))
    return total


@contextmanager
def _environment(spark: SparkSession, source: ApiSource) -> Iterator[None]:
    """What the job's workers see of the driver's environment: nothing that could be a secret.

    Where they run on its machine they inherit all of it, other sources' secrets included.
    """
    context = spark.sparkContext
    names = {name for name in map(variable, references(source)) if name}
    if (context.master or "").startswith("local"):
        jvm: Any = context._jvm  # what workers inherit is its environment, not this process's
        names |= {str(name) for name in jvm.java.lang.System.getenv().keySet()}
    before = context.environment
    context.environment = before | withheld(names, source.execution.environment)
    try:
        yield
    finally:
        context.environment = before
