"""What goes wrong on a cluster, each provoked there: the state of the run, the text shown, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from asgard_assets.settings import ROOT
from asgard_assets.spark.s3 import S3Transport
from tests.cluster.world import (
    NAMESPACE,
    SMALL,
    Home,
    World,
    end,
    import_image,
    start_s3,
    wait_for,
)

STORIES = "tests.cluster.stories"


def spec(**parts: Any) -> str:
    """The test cluster's small application with more said."""
    whole = json.loads(json.dumps(SMALL))
    for key, value in parts.items():
        whole[key] = {**whole[key], **value} if isinstance(value, dict) and key in whole else value
    return json.dumps(whole)


def launcher(**fields: Any) -> str:
    return json.dumps(fields)


def run(home: Home, asset: str, **variables: str) -> int:
    return home.run(asset, module=STORIES, **variables)


def start(home: Home, asset: str, said: str = "has begun", **variables: str) -> subprocess.Popen[bytes]:
    """The host process, once the step's body speaks."""
    host = home.start(asset, module=STORIES, **variables)
    wait_for(
        lambda: f"{said!r} in {home.said[-3000:]}", lambda: said in home.said or host.poll() is not None, 180
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
    run_id = home.log()[0].run_id
    address = f"{home.lake_root}/_trace/{run_id}"
    return S3Transport.at(address, home.world.environment["ASGARD_S3_ENDPOINT"]).get(name)


def test_an_image_that_is_not_there_is_named(world: World) -> None:
    home = world.home("image", SPARK_IMAGE="localhost/asgard:never-built")
    assert run(home, "brief", STORY_LAUNCHER=launcher(image_seconds=3)) != 0
    told(home, "localhost/asgard:never-built cannot be pulled", "SPARK_IMAGE")
    world.nothing_left()


def test_an_image_of_other_code_is_refused(world: World) -> None:
    import_image("other")
    home = world.home("version", SPARK_IMAGE="localhost/asgard:other")
    assert run(home, "brief") != 0
    told(home, "its image holds another version", "build the image")
    world.nothing_left()


def test_a_driver_that_no_node_takes_says_what_is_missing(world: World) -> None:
    home = world.home("node")
    wish = spec(driver={"nodeSelector": {"disk": "fast"}})
    assert run(home, "brief", ASGARD_SPARK_SPEC=wish, STORY_LAUNCHER=launcher(start_seconds=10)) != 0
    told(home, "no node took its driver", "node(s) didn't match Pod's node affinity/selector")
    world.nothing_left()


def test_executors_that_no_node_takes_are_told(world: World) -> None:
    home = world.home("executors")
    wish = spec(executor={"coreRequest": "64"})
    assert run(home, "counting", ASGARD_SPARK_SPEC=wish, STORY_LAUNCHER=launcher(executor_seconds=10)) != 0
    told(home, "none of its executors started", "Insufficient cpu")
    world.nothing_left()


def test_an_exceeded_quota_is_named(world: World) -> None:
    home = world.home("quota")
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "tight"},
        "spec": {"hard": {"pods": "0"}},
    }
    world.kubectl("apply", "-n", NAMESPACE, "-f", "-", body=json.dumps(quota))
    try:
        assert run(home, "brief") != 0
    finally:
        world.kubectl("delete", "resourcequota", "tight", "-n", NAMESPACE)
    told(home, "quota is exceeded", "exceeded quota: tight")
    world.nothing_left()


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


def test_the_operators_missing_right_to_network_policies_is_named(world: World) -> None:
    home = world.home("netpol")
    with without(world, "rolebinding", "asgard-spark-networkpolicies"):
        assert run(home, "brief") != 0
    told(home, "may not make NetworkPolicies", "rbac.networkPolicies=true")
    world.nothing_left()


def test_the_hosts_missing_right_to_submit_is_named(world: World) -> None:
    home = world.home("rbac")
    with without(world, "rolebinding", "asgard-launcher"):
        assert run(home, "brief") != 0
    assert home.status() == "FAILURE"
    said = home.failure().error.to_string()
    assert "sparkapplications" in said and "forbidden" in said, said
    assert "rbac.yaml" in said
    world.nothing_left()


def test_a_stopped_operator_is_named(world: World) -> None:
    home = world.home("operator")
    scale = ("scale", "deployment", "spark-operator-controller", "-n", "spark-operator")
    world.kubectl(*scale, "--replicas=0")
    wait_for("no operator", lambda: not world.objects("pods", "spark-operator"), 60)
    try:
        assert run(home, "brief", STORY_LAUNCHER=launcher(operator_seconds=10)) != 0
    finally:
        world.kubectl(*scale, "--replicas=1")
        world.kubectl(
            "rollout",
            "status",
            "deployment/spark-operator-controller",
            "-n",
            "spark-operator",
            "--timeout=120s",
        )
    told(home, "the Spark operator did not take it up", "is the operator running")
    world.nothing_left()


def test_a_driver_out_of_memory_is_told_and_a_retry_gets_more_where_asked(world: World) -> None:
    home = world.home("oom")
    tight = spec(driver={"memoryOverhead": "420m"})
    assert run(home, "hungry", ASGARD_SPARK_SPEC=tight) != 0
    metadata = told(home, "OOMKilled", "driver.memoryOverhead")
    assert "hungry has begun" in metadata["last_lines"].value
    world.nothing_left()
    grown = world.home("oom-grown")
    more = {"ASGARD_SPARK_SPEC": tight, "STORY_RETRIES": "1", "STORY_LAUNCHER": launcher(memory_growth=2.0)}
    assert run(grown, "hungry", **more) == 0, grown.said[-3000:]
    assert "STEP_UP_FOR_RETRY" in grown.said
    world.nothing_left()


def test_a_deleted_driver_pod_is_told_and_retried_as_the_policy_says(world: World) -> None:
    home = world.home("pod")
    host = start(home, "slow", STORY_RETRIES="1")
    pod = world.driver()["metadata"]["name"]
    world.kubectl("delete", "pod", pod, "-n", NAMESPACE, "--wait=false")
    wait_for("the retry", lambda: "STEP_UP_FOR_RETRY" in home.said, 240)
    again = world.driver()["metadata"]["name"]
    assert again != pod
    world.kubectl("delete", "pod", again, "-n", NAMESPACE, "--wait=false")
    assert host.wait(300) != 0
    told(home, "driver pod was deleted")
    world.nothing_left()


def test_an_evicted_driver_is_told(world: World) -> None:
    home = world.home("evicted")
    host = start(home, "slow")
    pod = world.driver()["metadata"]["name"]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": NAMESPACE},
    }
    world.kubectl(
        "create",
        "--raw",
        f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction",
        "-f",
        "-",
        body=json.dumps(eviction),
    )
    assert host.wait(300) != 0
    told(home, "evicted", "drained")
    world.nothing_left()


def test_a_deleted_application_is_told_and_not_as_an_error_of_the_step(world: World) -> None:
    home = world.home("application")
    host = start(home, "slow")
    (application,) = world.applications()
    world.kubectl(
        "delete", "sparkapplication", application["metadata"]["name"], "-n", NAMESPACE, "--wait=false"
    )
    assert host.wait(300) != 0
    told(home, "SparkApplication was deleted while the step ran")
    world.nothing_left()


def test_a_lost_executor_is_replaced_and_the_step_succeeds(world: World) -> None:
    home = world.home("executor")
    host = home.start("counting", module=STORIES)

    def running() -> list[dict[str, Any]]:
        pods = [p for p in world.objects("pods") if p["metadata"]["labels"].get("spark-role") == "executor"]
        return [p for p in pods if p["status"].get("phase") == "Running"]

    (executor,) = wait_for("an executor", running, 360)
    world.kubectl(
        "delete", "pod", executor["metadata"]["name"], "-n", NAMESPACE, "--grace-period=0", "--force"
    )
    assert host.wait(420) == 0, home.said[-4000:]
    assert home.status() == "SUCCESS"
    world.nothing_left()


def test_a_cancelled_run_cleans_up_and_ends_as_cancelled(world: World) -> None:
    home = world.home("cancel")
    host = start(home, "slow")
    host.send_signal(signal.SIGTERM)
    host.wait(90)
    assert home.status() in ("CANCELED", "FAILURE")
    assert trace(home, "cleaned") is not None
    world.nothing_left()


def test_a_killed_hosts_driver_stops_writing_and_leaves_nothing(world: World) -> None:
    home = world.home("host")
    host = start(home, "slow", STORY_LAUNCHER=launcher(host_seconds=15))
    os.killpg(host.pid, signal.SIGKILL)
    host.wait()
    world.nothing_left()
    last = trace(home, "beat")
    time.sleep(5)
    assert trace(home, "beat") == last
    address = f"{home.lake_root}/_launcher"
    exchange = S3Transport.at(address, world.environment["ASGARD_S3_ENDPOINT"])
    left = exchange.client.list_objects_v2(Bucket=exchange.bucket, Prefix=exchange.prefix).get("Contents", [])
    assert not left, [entry["Key"] for entry in left]


def test_an_api_server_that_is_away_for_a_minute_is_waited_for(world: World) -> None:
    home = world.home("api")
    host = start(home, "counting")
    script = str(ROOT / "deployments/cluster/apiserver.sh")
    subprocess.run(["bash", script, "stop"], check=True)
    try:
        time.sleep(60)
    finally:
        subprocess.run(["bash", script], check=True)
        wait_for("the API server", lambda: world.kubectl("get", "--raw", "/readyz", check=False) == "ok", 90)
    assert host.wait(420) == 0, home.said[-4000:]
    assert home.status() == "SUCCESS"
    world.nothing_left()


def test_s3_that_is_away_for_half_a_minute_is_waited_for(world: World) -> None:
    home = world.home("s3")
    host = start(home, "counting")
    end(world.s3_process)
    time.sleep(30)
    world.s3_process = start_s3(world.folder)
    assert host.wait(420) == 0, home.said[-4000:]
    assert home.status() == "SUCCESS"
    world.nothing_left()


def test_s3_that_stays_away_fails_the_run_with_its_address(world: World) -> None:
    home = world.home("s3-gone")
    host = start(home, "slow", STORY_LAUNCHER=launcher(outage_seconds=10, host_seconds=20))
    end(world.s3_process)
    try:
        assert host.wait(300) != 0
    finally:
        world.s3_process = start_s3(world.folder)
    assert home.status() == "FAILURE"
    said = home.failure().error.to_string()
    assert "S3 does not answer at s3://lake/" in said, said
    world.nothing_left(180)
