"""The check `up_to_date` of each table that follows its inputs: Dagster's UI says what `asgard state` says."""

# No `from __future__ import annotations`: Dagster wants the type of `context`, not its name.
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from asgard_assets.components.following.memory import Told
from asgard_assets.components.following.outlook import Outlook, outlooks_of, told
from asgard_assets.components.following.staleness import State, follows
from asgard_assets.lake import Lake
from asgard_assets.lake.reads import number

UP_TO_DATE = "up_to_date"
SETTLED_SECONDS = 600.0
"""What is so for less long is not told: a window that is followed at its pace is stale all the time."""
_SHOWN = 20


def with_up_to_date(loaded: dg.Definitions) -> dg.Definitions:
    """Definitions in which each table that follows its inputs has the check. The sensor `following` keeps it current; a
    person can run it."""
    known = {spec.key: spec for spec in loaded.resolve_all_asset_specs()}
    followed = [key for key, spec in known.items() if follows(spec)]
    if not followed:
        return loaded
    specs = [
        dg.AssetCheckSpec(
            UP_TO_DATE,
            asset=key,
            description="Every partition was built from its inputs as they are now, as `asgard state` says it.",
        )
        for key in followed
    ]

    @dg.multi_asset_check(name=UP_TO_DATE, specs=specs, can_subset=True)
    def up_to_date(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        keys = [each.asset_key for each in context.selected_asset_check_keys]
        for found in outlooks_of(Lake.from_settings(), known, context.instance, keys):
            yield dg.AssetCheckResult(
                asset_key=dg.AssetKey(found.state.asset.split("/")),
                check_name=UP_TO_DATE,
                passed=_passed(found.state),
                severity=dg.AssetCheckSeverity.WARN,
                metadata=_metadata(found),
            )

    return dg.Definitions.merge(loaded, dg.Definitions(asset_checks=[up_to_date]))


def other_checks(graph: Any, key: dg.AssetKey) -> list[dg.AssetCheckKey]:
    """The asset's checks but this one: a run that builds the asset needs no step to look at its lake again."""
    return [each for each in graph.get(key).check_keys if each.name != UP_TO_DATE]


def to_tell(
    states: Sequence[State], before: Mapping[str, Told], now: float
) -> tuple[list[str], dict[str, Told]]:
    """The assets whose answer is another one than was told, and has been for a while; and what is remembered."""
    due, after = list[str](), dict[str, Told]()
    for state in states:
        known, answer = before.get(state.asset, Told()), _answer(state)
        if answer == known.shown:
            after[state.asset] = Told(answer, answer, now)
        elif answer != known.next:
            after[state.asset] = Told(known.shown, answer, now)
        elif now - known.since < SETTLED_SECONDS:
            after[state.asset] = known
        else:
            due.append(state.asset)
            after[state.asset] = Told(answer, answer, now)
    return due, after


def evaluations(found: Sequence[Outlook]) -> list[dg.AssetCheckEvaluation]:
    """For Dagster's log, outside of any run."""
    return [
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(each.state.asset.split("/")),
            check_name=UP_TO_DATE,
            passed=_passed(each.state),
            severity=dg.AssetCheckSeverity.WARN,
            metadata=_metadata(each),
        )
        for each in found
    ]


def _passed(state: State) -> bool:
    return not (_closed(state, state.missing) or _closed(state, state.stale))


def _closed(state: State, keys: Sequence[str] | Mapping[str, object]) -> list[str]:
    """Those whose window has ended: the others are followed at a pace."""
    return [key for key in keys if key not in state.open]


def _answer(state: State) -> int:
    """Of two answers with one number Dagster is told once. 0: nothing was told yet."""
    missing, stale = _closed(state, state.missing), sorted(_closed(state, state.stale))
    return number(f"{missing} {stale} {len(state.older_code)}")


def _metadata(found: Outlook) -> dict[str, dg.MetadataValue]:
    state, lines = found.state, list(told(found))
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return {
        "state": dg.MetadataValue.md(
            "\n".join(f"- {line}" for line in [*lines[:_SHOWN], *more]) or "up to date"
        ),
        "missing": dg.MetadataValue.int(len(state.missing)),
        "stale": dg.MetadataValue.int(len(state.stale)),
        "failed": dg.MetadataValue.int(len(found.failed)),
        "held": dg.MetadataValue.int(len(found.held)),
        "older_code": dg.MetadataValue.int(len(state.older_code)),
    }
