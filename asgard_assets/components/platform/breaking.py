"""Telling people that something is about to break, before a run fails by it: disk, keys, a queue, a sensor."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from asgard_assets.components.platform.alerts import alert
from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from asgard_assets.roots import is_remote
from asgard_assets.settings import Settings

log = logging.getLogger(__name__)

_GIB = 1 << 30
FAILED_TICKS = 3
"""So many failed ticks in a row are no passing error."""


@dataclass(frozen=True)
class Trouble:
    """What is about to break: by which name it is known until it is over, and what to do."""

    name: str
    text: str


Look = Callable[[dg.DagsterInstance, Settings, float], Iterator[Trouble]]


def disks(instance: dg.DagsterInstance, settings: Settings, now: float) -> Iterator[Trouble]:
    """Folders of the home, the lake and the landing area that fill up."""
    places = {
        "home": str(settings.home.absolute()),
        "lake": settings.lake_root,
        "landing": settings.landing_root,
    }
    seen = set[int]()
    for name, place in places.items():
        folder = Path(place)
        if is_remote(place) or not folder.exists() or folder.stat().st_dev in seen:
            continue
        seen.add(folder.stat().st_dev)
        usage = shutil.disk_usage(folder)
        if usage.free < min(settings.disk_free_gib * _GIB, usage.total / 2):
            yield Trouble(
                f"disk of {name}",
                f"the disk of the {name} ({place}) has {usage.free / _GIB:.1f} GiB left; free some, or run "
                "`asgard clean` (ASGARD_DISK_FREE_GIB says when this is told)",
            )


def keys(instance: dg.DagsterInstance, settings: Settings, now: float) -> Iterator[Trouble]:
    """Keys of the lake's store that it refuses, or a store that nobody reaches."""
    if not is_remote(settings.lake_root):
        return
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        Lake.from_settings(settings).names("_control")
    except (ConfigError, ClientError, BotoCoreError, OSError) as error:
        yield Trouble(
            "keys of the lake",
            f"{settings.lake_root} cannot be listed ({str(error).splitlines()[0][:200]}): the keys have run out or were "
            "revoked, or the store is down; renew them (secrets.s3 of the chart)",
        )


def queue(instance: dg.DagsterInstance, settings: Settings, now: float) -> Iterator[Trouble]:
    """Runs that wait while no other one begins or goes on."""
    waiting = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]),
        limit=1,
        ascending=True,
    )
    if not waiting:
        return
    since = now - waiting[0].create_timestamp.timestamp()
    busy = instance.get_runs_count(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
    )
    if since > settings.queue_minutes * 60 and not busy:
        yield Trouble(
            "queue",
            f"a run waits for {since / 60:.0f} minutes, and none is going on: look at the daemon and at "
            "run_queue of dagster.yaml (ASGARD_QUEUE_MINUTES says when this is told)",
        )


def sensors(instance: dg.DagsterInstance, settings: Settings, now: float) -> Iterator[Trouble]:
    """Sensors and schedules whose last ticks all failed."""
    for state in instance.all_instigator_state() if instance.schedule_storage else ():
        if not state.is_running:
            continue
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=FAILED_TICKS)
        if len(ticks) == FAILED_TICKS and all(tick.status.value == "FAILURE" for tick in ticks):
            reason = (
                ticks[0].error.message.strip().splitlines()[0][:200] if ticks[0].error else "see its ticks"
            )
            yield Trouble(
                f"{state.instigator_type.value.lower()} {state.name}",
                f"{state.name} failed {FAILED_TICKS} times in a row: {reason}. Nothing that it asks for is done",
            )


LOOKS: tuple[Look, ...] = (disks, keys, queue, sensors)


def about_to_break(
    looks: tuple[Look, ...] = LOOKS,
    clock: Callable[[], float] = time.time,
    tell: Callable[[str], object] = alert,
) -> dg.SensorDefinition:
    """One message for all that is new since the last tick or over; of what stays as it is none."""

    @dg.sensor(
        name="about_to_break",
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells people of a full disk, refused keys, a queue that does not move, and a sensor that fails.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        settings, before = Settings(), _remembered(context.cursor)
        found = {each.name: each.text for look in looks for each in look(context.instance, settings, clock())}
        new = [text for name, text in found.items() if name not in before]
        over = [f"{name}: well again" for name in before if name not in found]
        after = {name: found[name][:200] for name in found}
        if new or over:
            try:
                tell("Asgard: " + "; ".join([*new, *over]))
            except (ConfigError, OSError) as error:
                log.error("nobody could be told: %s", error)
                after = dict(before)  # told at the next tick
        return dg.SensorResult(cursor=json.dumps(after), skip_reason="; ".join(found) or "all is well")

    return sensor


def _remembered(cursor: str | None) -> Mapping[str, str]:
    try:
        found = json.loads(cursor or "{}")
        return found if isinstance(found, dict) else {}
    except ValueError:
        return {}
