"""What the reading of a load's files came to: figures of each day, and the days and files that failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asgard_assets.ingest.files.plan.batch import Batch
from asgard_assets.ingest.files.plan.quarantine import BadFile
from asgard_assets.ingest.files.plan.read_task import Outcome, Piece
from asgard_assets.ingest.files.source.models import FileSource


@dataclass
class DayFigures:
    """What one day's files held. `deleted_files` are gone from the landing; their rows stay in the table."""

    files: int = 0
    bytes: int = 0
    rows: int = 0
    rescued_rows: int = 0
    quarantined_rows: int = 0
    left_out_rows: int = 0
    changed_files: int = 0
    failed_files: int = 0
    deleted_files: int = 0


def figures_of(batch: Batch) -> dict[str, DayFigures]:
    """Each day's figures before anything was read."""
    return {
        day: DayFigures(
            len(files),
            sum(file.size for file in files),
            changed_files=sum(file.path in batch.replaced for file in files),
            deleted_files=batch.deleted.get(day, 0),
        )
        for day, files in batch.todo.items()
    }


def count(figures: dict[str, DayFigures], outcomes: Sequence[Outcome], bad_files: Sequence[BadFile]) -> None:
    """Add what was read to each day's figures."""
    for outcome in outcomes:
        day = figures[outcome.ds]
        day.rows += outcome.rows
        day.rescued_rows += outcome.rescued
        day.quarantined_rows += outcome.bad
        day.left_out_rows += outcome.left_out
    for bad in bad_files:
        figures[bad.ds].failed_files += 1


def judged(
    source: FileSource, outcomes: Sequence[Outcome], pieces: Sequence[Piece], days: Sequence[str]
) -> tuple[dict[str, str], list[BadFile]]:
    """Days that must not be published, with the reasons, and the files that failed."""
    files = {piece.file.path: piece.file for piece in pieces}
    errors: dict[str, dict[str, Outcome]] = {}
    rows, bad = dict.fromkeys(days, 0), dict.fromkeys(days, 0)
    for outcome in outcomes:
        rows[outcome.ds] += outcome.records
        bad[outcome.ds] += outcome.bad
        if outcome.error:
            errors.setdefault(outcome.ds, {})[outcome.path] = outcome
    failed: dict[str, str] = {}
    for day in days:
        found = errors.get(day, {})
        reasons = [o.error for o in found.values()]
        limits = source.limits
        # A day that is overwritten would lose the rows that it has of a file that changed meanwhile.
        if len(reasons) > limits.bad_files or (source.overwrites and any(o.changed for o in found.values())):
            shown = reasons[:5] + ([f"and {len(reasons) - 5} files more"] if len(reasons) > 5 else [])
            failed[day] = "; ".join(shown)
        elif limits.bad_rows is not None and bad[day] > limits.bad_rows:
            failed[day] = f"{bad[day]} records are in quarantine, more than the limit of {limits.bad_rows}"
        elif limits.bad_share is not None and bad[day] > limits.bad_share * rows[day]:
            failed[day] = (
                f"{bad[day]} of {rows[day]} records are in quarantine, above the share {limits.bad_share}"
            )
        elif limits.bad_rows is None and limits.bad_share is None and 0 < rows[day] == bad[day]:
            failed[day] = (
                f"no record could be read: all {bad[day]} are in quarantine; correct the files or the source's "
                "`format`, or allow it with `limits: {bad_share: 1}`"
            )
    # A file that changed while its day failed is simply not loaded yet.
    return failed, [
        BadFile(files[path], day, o.error)
        for day, found in errors.items()
        for path, o in found.items()
        if not (o.changed and day in failed)
    ]
