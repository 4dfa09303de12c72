"""What killed hosts have left in cluster and bucket, and the runs that nobody works at any more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import dagster as dg

from asgard_assets.errors import ConfigError
from asgard_assets.resources.kubernetes import KubernetesStepLauncher
from asgard_assets.settings import Settings
from asgard_assets.spark.kube import Api
from asgard_assets.spark.kubernetes import sweep
from asgard_assets.spark.s3 import S3Transport

_EXCHANGE = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-[0-9a-f]{8}-\d+(?:-[0-9a-f]{8})?")


def remove_leftovers(
    instance: dg.DagsterInstance, launcher: KubernetesStepLauncher, lost: Sequence[str] = ()
) -> Iterator[str]:
    """Delete the applications and exchanges of runs that have ended; yields a line about each.

    `lost` are ids of runs whose host is known to be dead: they are failed first, and their pool slots freed. What
    belongs to a run that is not in this instance's history is another deployment's, and left alone.
    """
    for run_id in lost:
        run = instance.get_run_by_id(run_id)
        if run is None:
            raise ConfigError(f"no run {run_id} in the history at DAGSTER_HOME")
        if not run.is_finished:
            instance.report_run_failed(run, "The process that ran it is dead; failed by `asgard sweep`.")
            if instance.event_log_storage.supports_global_concurrency_limits:
                instance.event_log_storage.free_concurrency_slots_for_run(run_id)
            yield f"run {run_id}: failed"

    def ended(run_id: str) -> bool:
        run = instance.get_run_by_id(run_id) if run_id else None
        return run is not None and run.is_finished

    for name in sweep(Api.connect(launcher.kubeconfig), launcher.namespace, ended):
        yield f"SparkApplication {launcher.namespace}/{name}: deleted"
    settings = Settings()
    exchange = S3Transport.at(launcher.folder, settings.s3_endpoint, settings.s3_region)
    for name in list(exchange.folders()):
        found = _EXCHANGE.fullmatch(name)
        if found and ended(found.group(1)):
            S3Transport.at(f"{launcher.folder}/{name}", settings.s3_endpoint, settings.s3_region).remove()
            yield f"{launcher.folder}/{name}: deleted"
