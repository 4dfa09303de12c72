"""`asgard sweep`: what killed hosts have left goes, with their pool slots; what is somebody else's stays."""

from __future__ import annotations

import uuid
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from asgard_assets.errors import ConfigError
from asgard_assets.resources.kubernetes import KubernetesStepLauncher
from asgard_assets.resources.leftovers import remove_leftovers
from asgard_assets.spark import kubernetes
from asgard_assets.spark.kube import Api, Credentials
from asgard_assets.spark.s3 import S3Transport
from tests.servers.s3 import s3
from tests.spark.test_kubernetes_faults import Cluster, cluster

__all__ = ["cluster"]
pytestmark = pytest.mark.servers
STARTED, ENDED = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS


def test_only_what_ended_runs_of_this_history_have_left_is_removed(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(f"http://127.0.0.1:{cluster.server_port}", Credentials({}), False)
    monkeypatch.setattr(Api, "connect", lambda *_: api)
    launcher = KubernetesStepLauncher(
        folder="s3://lake/_launcher", namespace="pipelines", image="asgard:1", service_account="spark"
    )
    with s3(tmp_path / "s3", "lake") as server, dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ASGARD_S3_ENDPOINT", server.endpoint)
        lost, running, ended = (
            create_run_for_test(instance, status=status).run_id for status in (STARTED, STARTED, ENDED)
        )
        stranger = str(uuid.uuid4())
        storage = instance.event_log_storage
        storage.set_concurrency_slots("api", 2)
        for run_id in (lost, running):
            assert storage.claim_concurrency_slot("api", run_id, "usage").is_claimed
        path = kubernetes.applications_path("pipelines")
        for run_id in (lost, running, ended, stranger):
            labels = {kubernetes.MANAGED: "asgard", kubernetes.RUN_LABEL: run_id}
            api.post(path, {"metadata": {"name": f"asgard-{run_id[:8]}-0a1b2c3d-0", "labels": labels}})
            for prefix in (f"{run_id}-0a1b2c3d-0", f"{run_id}-0a1b2c3d-1-12345678"):
                S3Transport.at(f"{launcher.folder}/{prefix}").put("events/00000000", b"x")
        told = list(remove_leftovers(instance, launcher, [lost]))
        assert len(told) == 1 + 2 + 4  # the run; applications and exchanges of two runs
        left = {name[:36] for name in S3Transport.at(launcher.folder).folders()}
        assert left == {running, stranger}
        assert {app["metadata"]["labels"][kubernetes.RUN_LABEL] for app in cluster.objects.values()} == left
        assert storage.get_concurrency_info("api").active_run_ids == {running}
        failed = instance.get_run_by_id(lost)
        assert failed is not None and failed.status == dg.DagsterRunStatus.FAILURE
        assert not list(remove_leftovers(instance, launcher, [lost]))
        with pytest.raises(ConfigError, match=f"no run {stranger}"):
            list(remove_leftovers(instance, launcher, [stranger]))
