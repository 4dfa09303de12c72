"""What goes wrong on a cluster, each provoked there: the state of the run, the text shown, and nothing left behind.

Those marked `alone` take the operator or the API server away from everybody.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from asgard_assets.spark.s3 import S3Transport
from tests.checkout import ROOT
from tests.cluster.test_chart import GIVEN, template
from tests.cluster.world import (
    NAMESPACE,
    NODE,
    SMALL,
    Home,
    World,
    end,
    import_image,
    start_s3,
    wait_for,
)
from tests.patience import patience

STORIES = "tests.cluster.stories"
together = pytest.mark.together


def spec(**parts: Any) -> str:
    """The test cluster's small application with more said."""
    whole = json.loads(json.dumps(SMALL))
    for key, value in parts.items():
        whole[key] = {**whole[key], **value} if isinstance(value, dict) and key in whole else value
    return json.dumps(whole)


TIGHT = spec(driver={"memoryOverhead": "420m"})  # for the asset `hungry`


def launcher(**fields: Any) -> str:
    return json.dumps(fields)


def run(home: Home, asset: str, **variables: str) -> int:
    return home.run(asset, module=STORIES, **variables)


def start(home: Home, asset: str, said: str = "has begun", **variables: str) -> subprocess.Popen[bytes]:
    """The host process, once the step's body speaks."""
    host = home.start(asset, module=STORIES, **variables)
    wait_for(
        lambda: f"{said!r} in {home.said[-3000:]}", lambda: said in home.said or host.poll() is not None, 300
    )
    assert said in home.said, home.said[-4000:]
    return host


def told(home: Home, *texts: str) -> Any:
    """The failure of the run's step, which must say all of `texts`; returns its metadata."""
    assert home.status() == "FAILURE", home.said[-3000:]
    failure = home.failure()
    for text in texts:
        assert text in failure.error.message, failure.error.message
    assert "To fix:" in failure.error.message
    return failure.user_failure_data.metadata


def trace(home: Home, name: str) -> bytes | None:
    """What the step of the last run has written."""
    address = f"{home.lake_root}/_trace/{home.run_id}"
    return S3Transport.at(address, home.environment["ASGARD_S3_ENDPOINT"]).get(name)


@together
def test_pods_get_what_is_asked_for_and_executors_come_by_need(world: World) -> None:
    """Dynamic allocation, affinity, tolerations and a volume, as the operator and Spark make pods of them."""
    home = world.home("wish")
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node1"]}
    node = {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [here]}]
        }
    }
    shape = {
        "affinity": {"nodeAffinity": node},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    }
    allocation = {"initialExecutors": 0, "minExecutors": 0, "maxExecutors": 2}
    wish = json.loads(spec(driver=shape, executor=shape))
    del wish["executor"]["instances"]
    wish |= {"dynamicAllocation": allocation, "volumes": [{"name": "scratch", "emptyDir": {}}]}
    host = start(home, "counting", ASGARD_SPARK_SPEC=json.dumps(wish))
    driver, executor = (
        wait_for(f"a running {role}", lambda role=role: home.pods(role), 240)[0]["spec"]
        for role in ("driver", "executor")
    )
    assert host.wait(patience(300)) == 0, home.said[-4000:]
    for pod in (driver, executor):
        terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert terms["nodeSelectorTerms"][0]["matchExpressions"] == [here]
        assert any(toleration.get("key") == "spot" for toleration in pod["tolerations"])
        assert any(mount["mountPath"] == "/scratch" for mount in pod["containers"][0]["volumeMounts"])
        assert any(volume["name"] == "scratch" and "emptyDir" in volume for volume in pod["volumes"])
    assert 1 <= home.figures()["executors"] <= 2
    home.nothing_left()


# The start of a driver ----------------------------------------------------------------------------------


@together
def test_an_image_that_is_not_there_is_named(world: World) -> None:
    home = world.home("image", SPARK_IMAGE="localhost/asgard:never-built")
    assert run(home, "brief", STORY_LAUNCHER=launcher(image_seconds=3)) != 0
    told(home, "localhost/asgard:never-built cannot be pulled", "SPARK_IMAGE")
    home.nothing_left()


@together
def test_an_image_of_other_code_is_refused(world: World) -> None:
    import_image("other")
    home = world.home("version", SPARK_IMAGE="localhost/asgard:other")
    assert run(home, "brief") != 0
    told(home, "its image holds another version", "build the image")
    home.nothing_left()


@together
def test_a_driver_that_no_node_takes_says_what_is_missing(world: World) -> None:
    home = world.home("node")
    wish = spec(driver={"nodeSelector": {"disk": "fast"}})
    assert run(home, "brief", ASGARD_SPARK_SPEC=wish, STORY_LAUNCHER=launcher(start_seconds=5)) != 0
    told(home, "no node took its driver", "node(s) didn't match Pod's node affinity/selector")
    home.nothing_left()


@together
def test_executors_that_no_node_takes_are_told(world: World) -> None:
    home = world.home("executors")
    wish = spec(executor={"coreRequest": "64"})
    assert run(home, "counting", ASGARD_SPARK_SPEC=wish, STORY_LAUNCHER=launcher(executor_seconds=5)) != 0
    told(home, "none of its executors started", "Insufficient cpu")
    home.nothing_left()


@together
def test_an_exceeded_quota_is_named(world: World) -> None:
    """A quota of GPUs, which hinders nobody else here."""
    home = world.home("quota")
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "tight"},
        "spec": {"hard": {"requests.example.com/gpu": "0"}},
    }
    wish = spec(driver={"gpu": {"name": "example.com/gpu", "quantity": 1}})
    world.kubectl("apply", "-n", NAMESPACE, "-f", "-", body=json.dumps(quota))
    try:
        assert run(home, "brief", ASGARD_SPARK_SPEC=wish) != 0
    finally:
        world.kubectl("delete", "resourcequota", "tight", "-n", NAMESPACE)
    told(home, "quota is exceeded", "exceeded quota: tight")
    home.nothing_left()


@together
def test_the_hosts_missing_right_to_submit_is_named(world: World) -> None:
    home = world.home("rbac")
    world.login("default", home.folder / "nobody.kubeconfig")
    assert run(home, "brief", KUBECONFIG=str(home.folder / "nobody.kubeconfig")) != 0
    assert home.status() == "FAILURE"
    said = home.failure().error.to_string()
    assert "sparkapplications" in said and "forbidden" in said, said
    assert "rbac.yaml" in said
    home.nothing_left()


@together
def test_a_platform_in_a_namespace_of_its_own_launches_into_that_of_spark(world: World) -> None:
    """With the chart's rights, on the API server's own word: there the platform makes applications, and no pod; nobody of Spark's
    namespace reads the platform's Secrets."""
    own = "asgard-platform"
    values = {"sparkNamespace": NAMESPACE, "serviceAccounts.dagster": "asgard-runs"}
    rendered = template("--show-only", "templates/rbac.yaml", "-n", own, **GIVEN, **values)
    objects = [item for item in yaml.safe_load_all(rendered.stdout) if item["metadata"]["name"] != "spark-sa"]
    assert {item["metadata"].get("namespace", own) for item in objects} == {own, NAMESPACE}
    for (
        item
    ) in objects:  # the cluster has the rights of a release in Spark's own namespace: these stand beside them
        item["metadata"].setdefault("namespace", own)
        if item["kind"] != "ServiceAccount":
            item["metadata"]["name"] += "-apart"
            if "roleRef" in item:
                item["roleRef"]["name"] += "-apart"
    world.kubectl("create", "namespace", own)
    try:
        world.kubectl("apply", "-f", "-", body=yaml.safe_dump_all(objects))

        def may(account: str, verb: str, kind: str, namespace: str) -> bool:
            return world.kubectl("auth", "can-i", verb, kind, "-n", namespace, "--as", f"system:serviceaccount:{account}", check=False).strip() == "yes"  # fmt: skip

        runs, spark = f"{own}:asgard-runs", f"{NAMESPACE}:spark-sa"
        assert may(runs, "create", "sparkapplications.sparkoperator.k8s.io", NAMESPACE)
        assert may(runs, "create", "jobs.batch", own)
        assert not may(runs, "create", "pods", NAMESPACE) and not may(runs, "create", "jobs.batch", NAMESPACE)
        assert not may(runs, "get", "secrets", NAMESPACE) and not may(runs, "get", "secrets", own)
        for verb, kind in (("get", "secrets"), ("create", "pods"), ("get", "pods")):
            assert not may(spark, verb, kind, own), (verb, kind)
        home = world.home("apart")
        world.login("asgard-runs", home.folder / "runs.kubeconfig", own)
        told = {"KUBECONFIG": str(home.folder / "runs.kubeconfig"), "PLATFORM_NAMESPACE": own}
        assert run(home, "brief", **told) == 0, home.said[-4000:]
        home.nothing_left()
    finally:
        world.kubectl(
            "delete", "--ignore-not-found", "-f", "-", body=yaml.safe_dump_all(objects), check=False
        )
        world.kubectl("delete", "namespace", own, "--wait=false", check=False)


# A driver that is lost ----------------------------------------------------------------------------------


@together
def test_a_killed_hosts_driver_stops_writing_and_leaves_nothing(world: World) -> None:
    home = world.home("host")
    host = start(home, "slow", STORY_LAUNCHER=launcher(host_seconds=15))
    os.killpg(host.pid, signal.SIGKILL)
    host.wait()
    home.nothing_left()
    last = trace(home, "beat")
    assert last is not None
    time.sleep(5)
    assert trace(home, "beat") == last
    assert trace(home, "cleaned") is not None
    assert home.status() == "STARTED"  # nobody has told Dagster
    assert home.slots() == {home.run_id}
    sweep(home, "--lost", home.run_id)
    assert home.status() == "FAILURE"
    assert not home.slots()


def sweep(home: Home, *arguments: str) -> str:
    command = [sys.executable, "-m", "asgard_assets.cli", "sweep", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=home.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@together
def test_what_a_killed_host_has_left_is_swept_away_once_its_run_counts_as_lost(world: World) -> None:
    home = world.home("sweep")
    host = start(home, "slow", STORY_LAUNCHER=launcher(host_seconds=600))
    os.killpg(host.pid, signal.SIGKILL)
    host.wait()
    driver = home.driver()
    assert sweep(home) == "nothing is left\n"  # as far as Dagster knows, the run goes on
    said = sweep(home, "--lost", home.run_id)
    assert f"run {home.run_id}: failed" in said
    assert f"{driver.removesuffix('-driver')}: deleted" in said
    assert "/_launcher/" in said
    assert home.status() == "FAILURE"
    home.nothing_left()


@together
def test_a_driver_out_of_memory_is_told(world: World) -> None:
    home = world.home("oom")
    assert run(home, "hungry", ASGARD_SPARK_SPEC=TIGHT) != 0
    metadata = told(home, "OOMKilled", "driver.memoryOverhead")
    assert "hungry has begun" in metadata["last_lines"].value
    home.nothing_left()


@together
def test_a_retry_after_out_of_memory_gets_more_where_that_is_asked_for(world: World) -> None:
    home = world.home("oom-grown")
    more = {"ASGARD_SPARK_SPEC": TIGHT, "STORY_RETRIES": "1", "STORY_LAUNCHER": launcher(memory_growth=2.0)}
    assert run(home, "hungry", **more) == 0, home.said[-3000:]
    assert "STEP_UP_FOR_RETRY" in home.said
    home.nothing_left()


@together
def test_a_deleted_driver_pod_is_told_and_retried_as_the_policy_says(world: World) -> None:
    home = world.home("pod")
    host = start(home, "slow", STORY_RETRIES="1")
    pod = home.driver()
    world.kubectl("delete", "pod", pod, "-n", NAMESPACE, "--wait=false")
    wait_for("the retry", lambda: "STEP_UP_FOR_RETRY" in home.said, 240)
    again = home.driver()
    assert again != pod
    world.kubectl("delete", "pod", again, "-n", NAMESPACE, "--wait=false")
    assert host.wait(patience(300)) != 0
    told(home, "driver pod was deleted")
    home.nothing_left()


def evict(world: World, pod: str) -> None:
    """As the drain of a node does."""
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": NAMESPACE},
    }
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    world.kubectl("create", "--raw", path, "-f", "-", body=json.dumps(eviction))


@together
def test_an_evicted_driver_is_told(world: World) -> None:
    home = world.home("evicted")
    host = start(home, "slow")
    evict(world, home.driver())
    assert host.wait(patience(300)) != 0
    told(home, "evicted", "drained")
    home.nothing_left()


@together
def test_a_deleted_application_is_told_and_not_as_an_error_of_the_step(world: World) -> None:
    home = world.home("application")
    host = start(home, "slow")
    name = home.driver().removesuffix("-driver")
    world.kubectl("delete", "sparkapplication", name, "-n", NAMESPACE, "--wait=false")
    assert host.wait(patience(300)) != 0
    told(home, "SparkApplication was deleted while the step ran")
    home.nothing_left()


@together
def test_a_cancelled_run_cleans_up_and_ends_as_cancelled(world: World) -> None:
    home = world.home("cancel")
    host = start(home, "slow")
    host.send_signal(signal.SIGTERM)
    host.wait(patience(90))
    assert home.status() in ("CANCELED", "FAILURE")
    assert trace(home, "cleaned") is not None
    home.nothing_left()


# What a step outlives -----------------------------------------------------------------------------------


@contextmanager
def own_s3(world: World, name: str, port: int) -> Iterator[tuple[Home, list[subprocess.Popen[bytes]]]]:
    """A home whose S3 server is nobody else's, and that server."""
    home = world.home(name, ASGARD_S3_ENDPOINT=f"http://{NODE}:{port}")
    server = [start_s3(home.folder, port)]
    world.started.append(server[0])
    try:
        yield home, server
    finally:
        end(server[-1])


@together
def test_a_step_outlives_a_lost_executor_and_s3_away_for_half_a_minute(world: World) -> None:
    with own_s3(world, "s3", 17071) as (home, server):
        host = home.start("counting", module=STORIES)
        (executor,) = wait_for("an executor", lambda: home.run_id and home.pods("executor"), 360)
        name = executor["metadata"]["name"]
        world.kubectl("delete", "pod", name, "-n", NAMESPACE, "--grace-period=0", "--force")
        end(server[-1])
        time.sleep(30)
        server.append(start_s3(home.folder, 17071))
        assert host.wait(patience(420)) == 0, home.said[-4000:]
        assert home.status() == "SUCCESS"
        figures = home.figures()
        assert figures["executors"] >= 2 and figures["lost_executors"] >= 1, figures
        home.nothing_left()


@together
def test_s3_that_stays_away_fails_the_run_with_its_address(world: World) -> None:
    with own_s3(world, "s3-gone", 17072) as (home, server):
        host = start(home, "slow", STORY_LAUNCHER=launcher(outage_seconds=10, host_seconds=20))
        end(server[-1])
        assert host.wait(patience(300)) != 0
        server.append(start_s3(home.folder, 17072))
        assert home.status() == "FAILURE"
        said = home.failure().error.to_string()
        assert "S3 does not answer at s3://lake/" in said, said
        world.nothing_left(f"asgard-{home.run_id[:8]}-")


@pytest.mark.alone
def test_an_api_server_that_is_away_for_a_minute_is_waited_for(world: World) -> None:
    home = world.home("api")
    host = home.start("counting", module=STORIES)
    wait_for("an executor", lambda: home.run_id and home.pods("executor"), 360)
    script = str(ROOT / "deployments/cluster/apiserver.sh")
    subprocess.run(["bash", script, "stop"], check=True)
    try:
        time.sleep(60)
    finally:
        subprocess.run(["bash", script], check=True)
        wait_for("the API server", lambda: world.kubectl("get", "--raw", "/readyz", check=False) == "ok", 90)
    try:
        assert host.wait(patience(420)) == 0, home.said[-4000:]
        assert home.status() == "SUCCESS"
        home.nothing_left()
    finally:  # it has died of the outage too, and may wait minutes before it starts again
        world.kubectl("delete", "pod", "--all", "-n", "spark-operator")
        operator_ready(world)


# The operator -------------------------------------------------------------------------------------------


def operator_ready(world: World) -> None:
    rollout = ("rollout", "status", "deployment/spark-operator-controller", "--timeout=120s")
    world.kubectl(*rollout, "-n", "spark-operator")


@contextmanager
def without(world: World, kind: str, name: str) -> Iterator[None]:
    """The cluster without one object, which is put back."""
    kept = json.loads(world.kubectl("get", kind, name, "-n", NAMESPACE, "-o", "json"))
    kept["metadata"] = {
        key: kept["metadata"][key] for key in ("name", "namespace", "labels") if key in kept["metadata"]
    }
    world.kubectl("delete", kind, name, "-n", NAMESPACE)
    try:
        yield
    finally:
        world.kubectl("apply", "-n", NAMESPACE, "-f", "-", body=json.dumps(kept))


@pytest.mark.alone
def test_the_operators_missing_right_to_network_policies_is_named(world: World) -> None:
    home = world.home("netpol")
    with without(world, "rolebinding", "asgard-spark-networkpolicies"):
        assert run(home, "brief") != 0
    told(home, "may not make NetworkPolicies", "rbac.networkPolicies=true")
    home.nothing_left()


@pytest.mark.alone
def test_a_stopped_operator_is_named(world: World) -> None:
    home = world.home("operator")
    scale = ("scale", "deployment", "spark-operator-controller", "-n", "spark-operator")
    world.kubectl(*scale, "--replicas=0")
    wait_for("no operator", lambda: not world.objects("pods", "spark-operator"), 60)
    try:
        assert run(home, "brief", STORY_LAUNCHER=launcher(operator_seconds=5)) != 0
    finally:
        world.kubectl(*scale, "--replicas=1")
        operator_ready(world)
    told(home, "the Spark operator did not take it up", "is the operator running")
    home.nothing_left()
