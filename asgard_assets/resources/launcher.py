"""Runs the body of a Spark asset in a Spark driver of its own, as if it ran here.

An op attaches by requiring the resource key `step_launcher`. The host submits a driver, records the events
that come back in their order, and judges the end: a step has succeeded only when the driver says so and
leaves with exit code 0. Where and how drivers run is a `Submitter`; what they say travels by a `Transport`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import dagster as dg
from pydantic import Field

from asgard_assets import strangers
from asgard_assets.errors import SparkJobError, Transient
from asgard_assets.resources import steps
from asgard_assets.resources.step_main import (
    HOST_LOST,
    KEY,
    NOT_REBUILT,
    OTHER_CODE,
    STEP_FAILED,
    SUCCEEDED,
    Patient,
)
from asgard_assets.spark.submit import Driver, Handle, LocalSparkSubmit, State, Submitter, advice, explain
from asgard_assets.spark.transport import FolderTransport, Transport, Wire, new_key

log = logging.getLogger(__name__)

_BEAT_SECONDS = 5.0
_TIDY_SECONDS = 30
_LAST_LINES = 40
_TAIL_CHARACTERS = 16_000


class SparkStepLauncher(dg.ConfigurableResource, dg.StepLauncher):
    """Launches steps with a local `spark-submit`, through a folder. Opens neither Spark nor a JVM here."""

    folder: str = Field(description="Where steps, events and drivers' logs are exchanged.")
    submit_seconds: float = Field(
        default=300, gt=0, description="Longest time until the driver's first message."
    )
    run_seconds: float = Field(default=6 * 3600, gt=0, description="Longest time that an attempt may take.")
    silence_seconds: float = Field(
        default=120, gt=0, description="A driver that sends nothing for this many seconds counts as dead."
    )
    host_seconds: float = Field(
        default=60,
        gt=0,
        description="A driver that hears nothing of its host for this many seconds ends itself.",
    )
    cancel_seconds: float = Field(
        default=15, ge=0, description="Seconds that a cancelled step has to clean up."
    )
    exit_seconds: float = Field(
        default=60, gt=0, description="Seconds that a driver has to end after its step."
    )
    outage_seconds: float = Field(
        default=180, gt=0, description="Longest time to wait for an exchange that is out of reach."
    )
    poll_seconds: float = Field(default=0.2, gt=0, description="Pause between two looks at the driver.")

    other_code: ClassVar[tuple[str, str]] = (
        "the code has changed since this host began",
        "run the step again, with a host of the code as it is now",
    )

    def submitter(self, step_context: steps.StepExecutionContext) -> Submitter:
        """Where this attempt's driver runs. Raises ConfigError where Java or the Spark jars are missing."""
        from asgard_assets.spark.session import session_conf

        return LocalSparkSubmit(Path(self.folder) / "logs", session_conf())

    def transport(self, prefix: str) -> Transport:
        """The exchange of one attempt."""
        return FolderTransport(Path(self.folder) / prefix)

    def launch_step(self, step_context: steps.StepExecutionContext) -> Iterator[dg.DagsterEvent]:
        """Run one attempt of the step; yields its events, which are in the host's log by then.

        A driver that is lost without a last word is retried as the asset's RetryPolicy says; without one,
        Failure names the reason, the last log lines and what to change.
        """
        run_id, number = step_context.run_id, step_context.previous_attempt_count
        digest = hashlib.sha256(step_context.step.key.encode()).hexdigest()[:8]
        # A driver that a killed host has left may still write: another launch of this attempt reads none of it.
        prefix = f"{run_id}-{digest}-{number}-{os.urandom(4).hex()}"
        exchange = Patient(self.transport(prefix), self.outage_seconds)
        wire = Wire(exchange, new_key())
        order = {"host_seconds": self.host_seconds, "step": steps.describe(step_context)}
        attempt = _Attempt(
            step_context,
            self,
            self.submitter(step_context),
            exchange,
            wire,
            f"asgard-{run_id[:8]}-{digest}-{number}",
        )
        try:
            try:
                wire.put("step", json.dumps(order).encode())
                wire.beat("host")
                attempt.submit()
                yield steps.announce(
                    step_context,
                    f"Launched {attempt.name} as {attempt.handle.where}",
                    {
                        "driver": attempt.name,
                        "log": dg.MetadataValue.path(attempt.handle.log),
                        "exchange": wire.transport.address,
                    },
                )
                yield from attempt.follow()
            except (KeyboardInterrupt, steps.Interrupted, GeneratorExit):
                attempt.ask_to_stop()
                raise
            except SparkJobError as error:
                if isinstance(error, Transient):
                    attempt.give_up(error)
                raise
            if marks := attempt.submitter.marks(attempt.handle):
                seen = ", ".join(f"{what} after {seconds:.0f} s" for what, seconds in marks.items())
                figures = {**marks, **attempt.submitter.metrics(attempt.handle)}
                yield steps.announce(step_context, f"{attempt.name}: {seen}", figures)
            yield from attempt.verdict()
        finally:
            attempt.close()


@dataclass
class _Attempt:
    """One driver from submission to its end."""

    context: steps.StepExecutionContext
    launcher: SparkStepLauncher
    submitter: Submitter
    exchange: Patient
    wire: Wire
    name: str
    last_word: dg.EventLogEntry | None = None
    state: State = State()
    believed: bool = False
    _handle: Handle | None = None
    _cursor: int = 0
    _tail: str = ""
    _started: float = 0.0
    _beaten: float = 0.0
    _listened: float = 0.0
    _silent: float | None = None
    _said: float | None = None

    @property
    def handle(self) -> Handle:
        assert self._handle is not None
        return self._handle

    def submit(self) -> None:
        self._started = time.monotonic()
        driver = Driver(
            self.name,
            "asgard_assets.resources.step_main",
            [self.wire.transport.address],
            {KEY: self.wire.key},
        )
        self._handle = self.submitter.submit(driver)
        log.info("submitted %s as %s", self.name, self._handle.where)

    def follow(self) -> Iterator[dg.DagsterEvent]:
        """Events until the driver has ended. Its last word is kept back until its exit code is known."""
        while True:
            with steps.interruptible():
                time.sleep(self.launcher.poll_seconds)
            now = time.monotonic()
            # State first: what a driver sent before it ended has then arrived.
            self._tend()
            self._forward_log()
            for line in self.wire.receive():
                # It may say more than can be written down in the time for which it waits for us, or is kept once ended.
                self._tend()
                entry = steps.read(self.context, line)
                if steps.is_terminal(entry):
                    self.last_word, self._said = entry, now
                    self.submitter.hurry(self.handle)
                else:
                    yield from steps.record(self.context, entry)
            if self.state.ended:
                return
            self._hold_to_deadlines(now)

    def verdict(self) -> Iterator[dg.DagsterEvent]:
        """The step's last word, if the way in which the driver ended agrees with it; else it was lost."""
        word, code = self.last_word, self.state.exit_code
        if not self.state.lost and word is not None and word.dagster_event is not None:
            told = SUCCEEDED if word.dagster_event.is_step_success else STEP_FAILED
            if code == told:
                self.believed = code == SUCCEEDED
                self._hint()
                yield from steps.record(self.context, word)
                return
        if code == NOT_REBUILT:
            self._lose(
                "the driver could not load the definitions or start the resources",
                "the last log lines name the cause; the driver needs the same code and settings as this host",
                retry=False,
            )
        if code == OTHER_CODE and not self.state.lost:
            said = re.findall(r"OtherCodeError: (.*)", self._tail)
            self._lose(
                f"{self.launcher.other_code[0]}: {said[-1] if said else 'see the last log lines'}",
                self.launcher.other_code[1],
                retry=False,
            )
        if code == HOST_LOST and not self.state.lost:
            self._lose(
                f"it had not heard this host for {self.launcher.host_seconds:.0f} s and left",
                "was this host stopped, or the exchange out of reach? run the step again",
            )
        reason, fix = explain(self.state, self._tail)
        if word is not None:
            reason += "; what it said about the step before is not believed"
        self._lose(reason, fix, retry=self.state.retry)

    def ask_to_stop(self) -> None:
        """Give the cancelled body time to clean up, and record what it still has to say but its last word."""
        if self._handle is None:
            return
        self.exchange.seconds = self.launcher.cancel_seconds
        with self._tidying():
            self.wire.put("cancel", b"")
            self.submitter.hurry(self.handle)
            deadline = time.monotonic() + self.launcher.cancel_seconds
            ended = False
            while not ended:
                ended = self.submitter.state(self.handle).ended or time.monotonic() > deadline
                for line in self.wire.receive():
                    if time.monotonic() > deadline:
                        break
                    entry = steps.read(self.context, line)
                    if not steps.is_terminal(entry):
                        for _ in steps.record(self.context, entry):
                            pass
                time.sleep(0 if ended else 0.1)

    def give_up(self, error: SparkJobError) -> NoReturn:
        """Cluster or exchange stayed out of reach: that is the driver's loss, and tried again as the policy says."""
        self._lose(
            error.message,
            "check the network between this host and that address, and its load; the driver stops by itself, and the "
            "step can be run again",
        )

    def close(self) -> None:
        """Leave nothing behind: no process, no exchange; the log stays where the step did not succeed.

        What cannot be removed now is told and left to `asgard sweep`: it does not change how the step ended.
        """
        with self._tidying():
            if self._handle is not None:
                self.submitter.cancel(self._handle)
                self._forward_log()
                if self.believed:
                    self.submitter.forget(self._handle)
        self.exchange.seconds = min(self.exchange.seconds, _TIDY_SECONDS)
        with self._tidying():
            self.exchange.remove()

    @contextmanager
    def _tidying(self) -> Iterator[None]:
        try:
            yield
        except SparkJobError as error:
            self.context.log.warning(
                f"{self.name} may have left something behind: {error.message}. `asgard sweep` removes it."
            )

    def _tend(self) -> None:
        """Let the driver hear this host, and see how it is; both no more often than is needed."""
        with steps.interruptible():
            pass  # a cancel that has come meanwhile is raised here
        self.state = self.submitter.state(self.handle)
        now = time.monotonic()
        if now - self._beaten > min(_BEAT_SECONDS, self.launcher.host_seconds / 4):
            self.wire.beat("host")
            self._beaten = now

    def _silence(self, now: float) -> float | None:
        """Seconds since the driver was heard. Looked at as often as it beats, not at each poll."""
        pause = min(_BEAT_SECONDS, self.launcher.silence_seconds / 4) if self._silent is not None else 1.0
        if now - self._listened > pause:
            self._silent, self._listened = self.wire.silence("driver"), now
        return self._silent

    def _hold_to_deadlines(self, now: float) -> None:
        launcher, age = self.launcher, now - self._started
        silent = self._silence(now)
        if silent is None and not self.state.running and self.submitter.bounds_start:
            return  # the submitter knows better how long each part of a start may take
        if silent is None and age > launcher.submit_seconds:
            self._lose(
                f"nothing was heard from it in {launcher.submit_seconds:.0f} s",
                "is the machine overloaded? raise submit_seconds of the step launcher if it is only slow",
            )
        if silent is not None and silent > launcher.silence_seconds:
            self._lose(
                f"its heartbeat stopped {silent:.0f} s ago",
                "the process hangs or is starved; the last log lines show where it was",
            )
        if self._said is not None and self.state.stale:
            self._said = now  # it may have left long ago; nobody can say
        if self._said is not None and now - self._said > launcher.exit_seconds:
            self._lose(
                f"it finished the step but did not leave within {launcher.exit_seconds:.0f} s",
                "stop threads and processes that the asset started",
            )
        if age > launcher.run_seconds:
            self._lose(
                f"it ran for more than {launcher.run_seconds:.0f} s",
                "ask for fewer partitions at once, or raise run_seconds of the step launcher",
            )

    def _lose(self, reason: str, fix: str, retry: bool = True) -> NoReturn:
        error = SparkJobError(
            f"Spark driver {self.name} ended without the step's own success: {reason}. To fix: {fix}.",
            exit_code=self.state.exit_code,
        )
        failure = dg.Failure(
            error.message,
            metadata={
                "exit_code": str(self.state.exit_code),
                "reason": reason,
                "fix": fix,
                **self.state.details,
                **self._place(),
                "last_lines": dg.MetadataValue.md(
                    strangers.block("\n".join(self._tail.splitlines()[-_LAST_LINES:]))
                ),
            },
            allow_retries=retry,
        )
        policy = self.context.op_retry_policy
        if retry and policy is not None and self.context.previous_attempt_count < policy.max_retries:
            # The driver evaluates the policy for what the body raises; here nobody was left to do so.
            delay = policy.calculate_delay(self.context.previous_attempt_count + 1)
            failure.__cause__ = error
            raise dg.RetryRequested(policy.max_retries, delay) from failure
        raise failure from error

    def _place(self) -> dict[str, dg.MetadataValue[Any]]:
        """What the place itself knows of the driver, where it got as far as that."""
        if self._handle is None:
            return {}
        return {
            "events": dg.MetadataValue.text("\n".join(self.submitter.events(self._handle))),
            "log": dg.MetadataValue.path(self._handle.log),
        }

    def _hint(self) -> None:
        if not self.believed and (told := advice(self._tail)):
            self.context.log.error(told)

    def _forward_log(self) -> None:
        """The driver's output joins the host's, and with it Dagster's compute logs."""
        text, self._cursor = self.submitter.logs(self.handle, self._cursor)
        if text:
            self._tail = (self._tail + text)[-_TAIL_CHARACTERS:]
            sys.stderr.write(text)
            sys.stderr.flush()
