"""What runs were asked for and how they ended, in words."""

from __future__ import annotations

from collections.abc import Sequence

from asgard_assets.cli.options import Output
from asgard_assets.cli.terminal import console, print_json
from asgard_assets.operations.actions import CleanUp, Switched, Work
from asgard_assets.operations.partitions import shown
from asgard_assets.operations.runs import Launch, Ran
from asgard_assets.operations.todo import Amount


def show_work(work: Work, target: str, nothing: str) -> None:
    """Each partition of a source with its files; of other tables, the partitions together."""
    several = len(work.todos) > 1
    for todo in work.todos:
        prefix = f"{todo.asset} " if several else ""
        for note in todo.notes:
            console.print(f"{prefix}{note}")
        if todo.partitions is None:
            console.print(todo.asset)
        elif any(amount != Amount() for amount in todo.partitions.values()):
            for key, amount in todo.partitions.items():
                console.print(f"{prefix}{key}: {_amount(amount)}")
        elif todo.partitions:
            console.print(f"{todo.asset} {shown(list(todo.partitions))}: {len(todo.partitions)} partitions")
    if not work.launches:
        console.print(f"{target}: {nothing}")


def show_ran(ran: Ran) -> None:
    """One line for a run that ended; the reasons of a failure follow in the error."""
    title = Launch(ran.assets, ran.partitions).title
    if ran.ok:
        console.print(f"done: {title} in {ran.seconds:.1f} s")


def show_switched(done: Sequence[Switched], output: Output) -> None:
    """Whether each source is paused now."""
    if output is Output.json:
        print_json(list(done))
        return
    for one in done:
        said = one.paused or ("resumed" if one.changed else "was not paused")
        console.print(f"{one.source}: {said}")


def show_cleaned(done: CleanUp, dry_run: bool, output: Output) -> None:
    """How many files went, or would go."""
    if output is Output.json:
        print_json({"dry_run": dry_run, "files": dict(done.files), "tables": list(done.tables)})
        return
    verb = "would go" if dry_run else "went"
    for name, one in done.files.items():
        console.print(f"{name}: {one.files} files ({one.bytes} bytes) {verb}, {one.left} loaded ones stay")
        for reason in one.refused[:20]:
            console.print(f"refused: {reason}")
    for table in done.tables:
        compacted = f"{table.compacted_files} small files {'would be ' if dry_run else ''}compacted"
        removed = f"{table.removed_files} old files {verb}"
        console.print(
            f"{table.table}: {compacted}, {removed}, {table.removed_staging} leftovers of killed runs {verb}"
        )
        for reason in table.skipped:
            console.print(f"  left for the next time: {reason}")
    if not done.files and not done.tables:
        console.print("nothing to clean")


def _amount(amount: Amount) -> str:
    if amount.records:
        files = f"{amount.files} files, " if amount.files else ""
        return f"{files}{amount.records} records " + ("in quarantine" if amount.files else "failed")
    return f"{amount.files} files, {amount.bytes} bytes"
