"""What to ask for, from what is missing or stale now and what was asked for before. Pure: it reads no clock and no lake.

A partition that is still missing or stale after it was asked for, with the same inputs, has failed. It is asked for again
after a pause that doubles, a bounded number of times; then its owner is told once. When an input changes it is a new
partition to ask for. All of this may be forgotten: then partitions that fail are tried a few times more.

Nothing is asked for while an input is being written, but no longer than LONGEST_WAIT_SECONDS: a stream is always written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from asgard_assets.components.following.staleness import State
from asgard_assets.lake.reads import Edge

TRIES = 6
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 300.0, 6 * 3600.0
NEW = 7
"""So many of the newest partitions go before all others."""
LONGEST = 100
"""Partitions of one run at most."""
MOST = 25
"""Runs that were asked for and wait or run, at most; those that bring new data go first."""
LONGEST_WAIT_SECONDS = 900.0


@dataclass(frozen=True)
class Attempt:
    """What is remembered of a partition that was seen missing or stale: what it would read, and how often it was asked
    for; before `at` (seconds since 1970) it is left alone."""

    reads: int
    tries: int
    at: float
    told: bool = False


Memory = Mapping[str, Mapping[str, Attempt]]


@dataclass(frozen=True)
class Followed:
    """An asset that follows its inputs."""

    state: State
    edges: tuple[Edge, ...]
    upstream: Mapping[str, str] = field(default_factory=dict[str, str])
    """Assets that write its inputs, by table."""
    corrections: int = 60
    """So many of the newest partitions are built again when an input changed."""
    never_built: int | None = None
    """So many of the newest partitions are built if they never were; None: all."""
    in_order: bool = False
    longest: int = LONGEST
    """Partitions of one run at most."""
    whole: bool = False
    held: Collection[str] = ()
    """Partitions whose run a person ended, and whose inputs are as they were then."""
    open_pace: float | None = None
    """A partition whose window has not ended is built again after so many seconds, not before; None: only once it
    has ended."""


@dataclass(frozen=True)
class Ask:
    """One run: an asset and partitions without a gap; none where the asset is a whole."""

    asset: str
    keys: tuple[str, ...]
    tries: int
    new: bool


@dataclass(frozen=True)
class Plan:
    """What one tick asks for, what is remembered until the next, and what people are told."""

    asks: tuple[Ask, ...]
    memory: Memory
    failed: Mapping[str, tuple[str, ...]]
    """By asset: partitions that were tried often enough. Each is told once."""


def plan(
    followed: Sequence[Followed],
    memory: Memory,
    busy: Mapping[str, Collection[str] | None],
    now: float,
    pace: float = 0.0,
    room: int = MOST,
) -> Plan:
    """`followed` with inputs first. `busy` are partitions in runs that wait or run, by asset (None: all of them). What
    is seen for the first time is left alone for `pace` seconds. At most `room` runs are asked for.
    """
    wished, told = list[Ask](), dict[str, tuple[str, ...]]()
    kept = dict[str, dict[str, Attempt]]()
    written: dict[str, Collection[str] | None] = dict(busy)
    for each in followed:
        asset, own = each.state.asset, dict[str, Attempt]()
        ready, failed = list[str](), list[str]()
        for key in _wanted(each):
            own[key] = attempt = _attempt(each, key, memory.get(asset, {}).get(key), now, pace)
            if key in each.held or now < attempt.at or _busy(each, key, written, now - attempt.at):
                continue
            if attempt.tries < TRIES:
                ready.append(key)
            elif not attempt.told:
                failed.append(key)
                own[key] = replace(attempt, told=True)
        asks = [_ask(each.state, keys, own) for keys in _runs(each, ready)]
        wished += asks
        if asks and written.get(asset, ()) is not None:
            asked = {key for ask in asks for key in ask.keys or ("",)}
            written[asset] = {*(written.get(asset) or ()), *asked}
        if own:
            kept[asset] = own
        if failed:
            told[asset] = tuple(failed)
    asks = sorted(wished, key=lambda ask: not ask.new)[: max(room, 0)]
    for ask in asks:
        own = kept[ask.asset]
        for key in ask.keys or ("",):
            pause = min(FIRST_PAUSE_SECONDS * 2 ** own[key].tries, LONGEST_PAUSE_SECONDS)
            own[key] = replace(own[key], tries=own[key].tries + 1, at=now + pause)
    return Plan(tuple(asks), kept, told)


def _attempt(each: Followed, key: str, before: Attempt | None, now: float, pace: float) -> Attempt:
    """What is known of the partition, after its inputs may have changed again."""
    reads = each.state.reads[key]
    found = before
    if before is None:
        found = Attempt(reads, 0, now + pace)
    elif before.reads != reads:  # one that was waiting waits no longer because of it
        again = each.open_pace if each.open_pace and key in each.state.open else pace
        found = Attempt(reads, 0, now + again if before.tries else before.at)
    assert found is not None
    built = each.state.built.get(key, 0.0)
    if built and each.open_pace and key in each.state.open:
        found = replace(found, at=max(found.at, built + each.open_pace))
    return found


def _wanted(each: Followed) -> list[str]:
    """What was never built, and what older code built, however old; what is stale, as far back as corrections go."""
    state = each.state
    if not (state.missing or state.stale):
        return []
    everything = sorted({*state.current, *state.missing, *state.stale, *state.waiting})
    recent = {*everything[-each.corrections :]} if each.corrections else set[str]()
    early = {*state.open} if each.open_pace is None else set[str]()
    ended = [key for key in everything if key not in early]
    missing = {*state.missing} & {*(ended if each.never_built is None else ended[-each.never_built :])}
    stale = {key for key in state.stale if key in recent} | {*state.recode}
    return sorted((missing | stale) - early)


def _busy(each: Followed, key: str, written: Mapping[str, Collection[str] | None], waited: float) -> bool:
    """Whether the partition is in a run, or one that it reads and that it has not waited for long enough."""
    if _in(written, each.state.asset, key, key):
        return True
    return waited < LONGEST_WAIT_SECONDS and any(
        _in(written, each.upstream[edge.table], *edge.bounds(key))
        for edge in each.edges
        if edge.table in each.upstream and each.upstream[edge.table] != each.state.asset
    )


def _in(written: Mapping[str, Collection[str] | None], asset: str, first: str, last: str) -> bool:
    if asset not in written:
        return False
    keys = written[asset]
    return keys is None or any(not key or first <= key <= last for key in keys)


def _runs(each: Followed, ready: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The keys cut into runs: where one is missing, where they get too many, and before the newest."""
    if not ready:
        return
    state = each.state
    order = sorted({*state.current, *state.missing, *state.stale, *state.waiting})
    place = {key: number for number, key in enumerate(order)}
    newest = len(order) - NEW
    run = list[str]()
    for key in ready:
        gap = run and place[key] != place[run[-1]] + 1
        new = run and not each.in_order and place[run[-1]] < newest <= place[key]
        if run and (gap or new or len(run) == each.longest):
            yield tuple(run)
            if each.in_order and not gap:
                return  # the rest needs what this run makes
            run = []
        run.append(key)
    yield () if each.whole else tuple(run)


def _ask(state: State, keys: Sequence[str], own: Mapping[str, Attempt]) -> Ask:
    order = sorted({*state.current, *state.missing, *state.stale, *state.waiting})
    new = not keys or keys[-1] in order[-NEW:]
    return Ask(state.asset, tuple(keys), 1 + max(own[key].tries for key in keys or ("",)), new)
