"""What the run of an ingestion does, in a process of its own: finds what is asked for, and loads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from asgard_assets.errors import NotFoundError
from asgard_assets.operations import actions
from asgard_assets.operations.partitions import Span
from asgard_assets.operations.runs import Launch, Ran, execute
from asgard_assets.operations.targets import Target, find
from asgard_assets.operations.transforms.submissions import Submission

if TYPE_CHECKING:
    import dagster as dg

    from asgard_assets.operations.todo import Finder

ASKS = ("changed", "all", "failed", "quarantined")
"""What a run loads: new and changed data; everything again; what has no success; files with records in quarantine."""


def load_source(found: Submission, instance: dg.DagsterInstance) -> Ran:
    """Run it. A run of several launches is a success if all of them are; what has nothing to load is one."""
    from asgard_assets import project

    definitions = project.current().definitions()
    finder = actions.finder(instance, definitions=definitions)
    done = [execute(one, instance) for one in launches_of(finder, found)]
    return Ran(
        (found.table,),
        tuple(partition for ran in done for partition in ran.partitions),
        ok=all(ran.ok for ran in done),
        seconds=sum(ran.seconds for ran in done),
        run_id=done[-1].run_id if done else "",
        reasons=tuple(reason for ran in done for reason in ran.reasons),
    )


def launches_of(finder: Finder, found: Submission) -> list[Launch]:
    """The runs of Dagster that it takes. Raises NotFoundError where the code location does not have the source."""
    span = Span.parse(found.partitions)
    if (source := finder.catalog.named(found.source)) is None:
        return [Launch((found.table,), (_now(finder, found.table),), id=found.run_id, source=found.source)]
    target = find(finder.catalog, found.source)
    if not source.assets:
        raise NotFoundError(f"the project has no source {found.source}; its log says why")
    work = _WORK[found.ask](finder, target, span)
    return [
        Launch(one.assets, one.partitions, one.config, id=found.run_id, source=found.source)
        for one in work.launches
    ]


def _everything(finder: Finder, target: Target, span: Span | None) -> actions.Work:
    return actions.work_to_run(finder, target, span, everything=True)


def _failed(finder: Finder, target: Target, span: Span | None) -> actions.Work:
    """Of files, what is not loaded: a file that failed is among them."""
    files = all(source.kind == "files" for source in target.sources)
    return (actions.work_to_run if files else actions.work_to_retry)(finder, target, span)


_WORK: dict[str, Callable[[Finder, Target, Span | None], actions.Work]] = {
    "changed": actions.work_to_run,
    "all": _everything,
    "failed": _failed,
    "quarantined": actions.work_to_repair,
}


def _now(finder: Finder, table: str) -> str:
    """The window that it is now, of a topic's table. Raises NotFoundError where there is no such table."""
    from datetime import UTC, datetime

    import dagster as dg

    from asgard_assets.components.partitions import calendar_of

    key = dg.AssetKey.from_user_string(table)
    if key not in finder.catalog.graph.get_all_asset_keys():
        raise NotFoundError(f"the project has no table {table}; its log says why")
    calendar = calendar_of(finder.catalog.graph.get(key).partitions_def)
    assert calendar is not None
    return calendar.key_at(datetime.now(UTC))
