"""A Pipes client for Spark jobs that are not part of this project: any program, any image, as a SparkApplication.

The program opens Dagster Pipes with `PipesS3MessageWriter`; its reports and its end come back as with any other
Pipes client. Submission, observation, diagnosis and cleaning up are those of the step launcher.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg

from asgard_assets import strangers
from asgard_assets.errors import SparkJobError
from asgard_assets.resources.kubernetes import KubernetesStepLauncher
from asgard_assets.settings import Settings
from asgard_assets.spark.diagnosis import Deadlines
from asgard_assets.spark.kube import Api
from asgard_assets.spark.kubernetes import RUN_LABEL, KubernetesSubmitter
from asgard_assets.spark.rights import TAG
from asgard_assets.spark.s3 import S3Transport
from asgard_assets.spark.submit import Driver, Handle, State, explain

log = logging.getLogger(__name__)


class PipesSparkApplicationClient(dg.PipesClient):
    """Runs a program as a SparkApplication, with the defaults of `launcher`."""

    def __init__(self, launcher: KubernetesStepLauncher) -> None:
        self.launcher = launcher

    def run(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *,
        context: dg.OpExecutionContext | dg.AssetExecutionContext,
        main_application_file: str,
        arguments: Sequence[str] = (),
        spec: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> dg.PipesClientCompletedInvocation:
        """Submit the program and wait for it. `spec` is a part of the application, in the operator's field names.

        `env` goes through a Secret of the application's own. Raises dg.Failure, with the reason and what to
        change, where the application did not complete.
        """
        launcher, settings = self.launcher, Settings()
        context = context.op_execution_context if isinstance(context, dg.AssetExecutionContext) else context
        digest = _digest(context, main_application_file, arguments)
        own = os.urandom(4).hex()  # what a killed host's program still reports is not this one's
        address = f"{launcher.folder}/{context.run.run_id}-{digest}-{context.retry_number}-{own}"
        exchange = S3Transport.at(address, settings.s3_endpoint, settings.s3_region)
        reader = _reader(exchange, launcher.look_seconds)
        name = f"asgard-{context.run.run_id[:8]}-{digest}-pipes"
        with dg.open_pipes_session(
            context=context,
            context_injector=dg.PipesEnvContextInjector(),
            message_reader=reader,
            extras=dict(extras) if extras else None,
        ) as session:
            submitter = self._submitter(context, spec)
            driver = Driver(
                name,
                "",
                arguments,
                {**session.get_bootstrap_env_vars(), **(env or {})},
                main_application_file,
            )
            handle = submitter.submit(driver)
            context.log.info("launched %s as %s", name, handle.where)
            end = self._followed(submitter, handle)
        if end.state.lost or end.state.exit_code:
            raise end.failure(name)
        metadata = {"spark_application": name, **end.figures}
        return dg.PipesClientCompletedInvocation(session, metadata=metadata)

    def _submitter(
        self, context: dg.OpExecutionContext, spec: Mapping[str, Any] | None
    ) -> KubernetesSubmitter:
        launcher = self.launcher
        return KubernetesSubmitter(
            Api.connect(launcher.kubeconfig),
            launcher.namespace,
            launcher.spec_for({TAG: json.dumps(spec or {})}, {}, source="the Pipes call"),
            env=launcher.pod_environment(),
            secrets=launcher.pod_secrets,
            labels={RUN_LABEL: context.run.run_id, "asgard/step": context.op.name},
            limits=Deadlines(
                launcher.operator_seconds,
                launcher.image_seconds,
                launcher.start_seconds,
                launcher.executor_seconds,
            ),
            poll_seconds=launcher.look_seconds,
            unreachable_seconds=launcher.unreachable_seconds,
        )

    def _followed(self, submitter: KubernetesSubmitter, handle: Handle) -> _End:
        """Wait for the application's end, its output in Dagster's compute logs; then remove it."""
        said, state = "", State()
        try:
            while not state.ended:
                time.sleep(self.launcher.poll_seconds)
                state = submitter.state(handle)
                text = submitter.logs(handle)[0]
                sys.stderr.write(text)  # joins Dagster's compute logs
                said = (said + text)[-16_000:]
            figures = {**submitter.marks(handle), **submitter.metrics(handle)}
            return _End(state, said, submitter.events(handle), figures)
        finally:
            submitter.cancel(handle)


@dataclass(frozen=True)
class _End:
    """How an application ended: its state, its last lines, its events, its figures."""

    state: State
    said: str
    events: Sequence[str]
    figures: Mapping[str, Any]

    def failure(self, name: str) -> dg.Failure:
        reason, fix = explain(self.state, self.said)
        last = "\n".join(self.said.splitlines()[-40:])
        return dg.Failure(
            f"SparkApplication {name} did not complete: {reason}. To fix: {fix}.",
            metadata={
                "exit_code": str(self.state.exit_code),
                "events": "\n".join(self.events),
                "last_lines": dg.MetadataValue.md(strangers.block(last)),
            },
            allow_retries=self.state.retry,
        )


def _reader(exchange: S3Transport, seconds: float) -> dg.PipesMessageReader:
    """Reads messages below the exchange's prefix, and removes them when the session ends."""
    from dagster_aws.pipes import PipesS3MessageReader

    class Reader(PipesS3MessageReader):
        @contextmanager
        def get_params(self) -> Iterator[dict[str, Any]]:
            try:
                with super().get_params() as params:
                    yield {**params, "key_prefix": exchange.prefix}
            finally:
                try:
                    exchange.remove()
                except SparkJobError as error:
                    log.warning("%s; `asgard sweep` removes what is left", error.message)

    return Reader(bucket=exchange.bucket, client=exchange.client, interval=seconds)


def _digest(context: dg.OpExecutionContext, *parts: Any) -> str:
    retry = context.retry_number
    return hashlib.sha256(repr((context.op.name, retry, parts)).encode()).hexdigest()[:8]
