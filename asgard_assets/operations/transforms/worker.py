"""`python -m asgard_assets.operations.transforms.worker RUN_ID`: the run of one submission, in a process of its own."""

from __future__ import annotations

import logging
import resource
import sys
import time
from datetime import UTC, datetime
from typing import Any

from asgard_assets import project
from asgard_assets.components.platform.contracts import REVISION
from asgard_assets.errors import AsgardError, ConflictError, NotFoundError
from asgard_assets.operations.autoloader.work import load_source
from asgard_assets.operations.runs import TAG, Launch, Ran, execute
from asgard_assets.operations.transforms.shared import submissions_of
from asgard_assets.operations.transforms.submissions import NOT_MINE, Outcome, Submission, Submissions
from asgard_assets.settings import Settings

log = logging.getLogger(__name__)


def work(submissions: Submissions, run_id: str) -> bool | None:
    """Run it. Returns whether it succeeded; None where another process runs it, or it has ended already."""
    with submissions.claimed(run_id) as mine:
        found = submissions.get(run_id)
        if not mine or found is None or submissions.outcome(run_id) is not None:
            return None
        began = time.monotonic()
        try:
            ran = _run(found)
        except (AsgardError, OSError) as error:
            ran = Ran((found.table,), (), ok=False, reasons=(str(error),))
        submissions.finish(run_id, _outcome(ran, time.monotonic() - began))
        return ran.ok


def _run(found: Submission) -> Ran:
    import dagster as dg

    stage, _, name = found.table.partition("/")
    with dg.DagsterInstance.get() as instance:
        if earlier := instance.get_run_records(dg.RunsFilter(tags={TAG: found.run_id}), limit=1):
            run = earlier[0].dagster_run  # its process was killed
            if not run.is_finished:
                instance.report_run_failed(run, "the process of this run was ended from outside")
            return Ran(
                (found.table,),
                (),
                ok=run.is_success and not found.source,  # an ingestion may take several runs
                run_id=run.run_id,
                reasons=("its process was ended from outside",),
            )
        if found.source:
            return load_source(found, instance)
        if stage == "bronze":  # of a source that was connected through the API: what it has now
            return execute(Launch((found.table,), (_current_window(found.table),), id=found.run_id), instance)
        _refuse_foreign(found.table)
        config = {"ops": {f"{stage}_{name}": {"config": {"revision": found.revision}}}}
        return execute(Launch((found.table,), config=config, id=found.run_id), instance)


def _refuse_foreign(table: str) -> None:
    """Raises ConflictError where the project's own files make the asset, and not a definition in the lake."""
    if REVISION not in _asset(table).metadata:
        raise ConflictError(f"{table} is made by the project's own files; choose another name")


def _asset(table: str) -> Any:
    """The asset, in the project's graph. Raises NotFoundError."""
    import dagster as dg

    key = dg.AssetKey.from_user_string(table)
    graph = project.current().definitions().resolve_asset_graph()
    if key not in graph.get_all_asset_keys():
        raise NotFoundError(f"the project has no table {table}; its log says why")
    return graph.get(key)


def _current_window(table: str) -> str:
    """The window that it is now, of the table's own calendar."""
    from asgard_assets.components.partitions import calendar_of

    calendar = calendar_of(_asset(table).partitions_def)
    assert calendar is not None
    return calendar.key_at(datetime.now(UTC))


def _outcome(ran: Ran, seconds: float) -> Outcome:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    memory = max(own.ru_maxrss, children.ru_maxrss) * 1024
    return Outcome(ran.ok, time.time(), seconds, cpu, memory, tuple(reason[:2000] for reason in ran.reasons))


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stdout)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # migrations of SQLite say nothing of the run
    project.read_env()
    done = work(submissions_of(Settings()), sys.argv[1])
    sys.exit(NOT_MINE if done is None else not done)


if __name__ == "__main__":
    main()
