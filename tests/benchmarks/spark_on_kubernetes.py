"""What the step launcher costs on the test cluster; needs root, and takes minutes.

python -m tests.benchmarks.spark_on_kubernetes launch --runs 3     # against plain spark-submit of the same job
python -m tests.benchmarks.spark_on_kubernetes polls --clients 50  # polls of applications against watches
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from asgard_assets.settings import Settings
from asgard_assets.spark.kube import Api
from asgard_assets.spark.kubernetes import applications_path
from asgard_assets.spark.session import lake_conf
from asgard_assets.spark.submit import spark_home
from tests.cluster.world import IMAGE, NAMESPACE, NODE, SMALL, World, open_world

CODE = "from pyspark.sql import SparkSession as S; s = S.builder.getOrCreate(); print(s.range(0, 4, 1, 1).count()); s.stop()"


def launched(world: World) -> dict[str, float]:
    """Seconds of one step, from the start of its run on."""
    home = world.home("launched")
    assert home.run("summing", module="tests.cluster.stories") == 0, home.said[-3000:]
    log = home.log()
    at = {
        event.event_type_value: entry.timestamp
        for entry in reversed(log)
        if (event := entry.dagster_event) is not None
    }
    marks = home.figures()
    begun = at["PIPELINE_START"]
    return {
        "driver pod": marks["pod"],
        "running": marks["running"],
        "first event": at["STEP_START"] - begun,
        "executor": marks.get("executor", float("nan")),
        "success": at["STEP_SUCCESS"] - begun,
        "end of the run": at["PIPELINE_SUCCESS"] - begun,
    }


def plain(world: World) -> float:
    """Seconds of spark-submit in cluster mode, with the same pods and settings."""
    home = world.home("plain")
    os.environ["ASGARD_LAKE"] = home.lake_root
    driver, executor = SMALL["driver"], SMALL["executor"]
    conf = {
        **lake_conf(Settings(), "/opt/cache"),
        "spark.kubernetes.namespace": NAMESPACE,
        "spark.kubernetes.container.image": IMAGE,
        "spark.kubernetes.container.image.pullPolicy": "IfNotPresent",
        "spark.kubernetes.authenticate.driver.serviceAccountName": "spark-sa",
        "spark.kubernetes.driver.request.cores": driver["coreRequest"],
        "spark.kubernetes.executor.request.cores": executor["coreRequest"],
        "spark.driver.memory": driver["memory"],
        "spark.driver.memoryOverhead": driver["memoryOverhead"],
        "spark.executor.memory": executor["memory"],
        "spark.executor.memoryOverhead": executor["memoryOverhead"],
        "spark.executor.instances": "1",
        "spark.kubernetes.driver.pod.name": "plain-driver",
        "spark.log.level": "INFO",  # how it ended is told at that level
    }
    options = [part for key, value in conf.items() for part in ("--conf", f"{key}={value}")]
    command = [f"{spark_home()}/bin/spark-submit", "--master", f"k8s://https://{NODE}:16443"]
    command += ["--deploy-mode", "cluster", "--name", "plain", *options]
    command += ["local:///opt/asgard/tests/cluster/program.py", CODE]
    environment = {**os.environ, "KUBECONFIG": world.admin, "SPARK_HOME": str(spark_home())}
    began = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    took = time.monotonic() - began
    assert done.returncode == 0 and "phase: Succeeded" in done.stderr, done.stderr[-3000:]
    world.kubectl("delete", "pod", "plain-driver", "-n", NAMESPACE)
    return took


def launch(world: World, runs: int) -> None:
    """Alternately, so that both meet the same machine."""
    ours: list[dict[str, float]] = []
    theirs: list[float] = []
    for _ in range(runs):
        theirs.append(plain(world))
        ours.append(launched(world))
        print(
            {key: round(value, 1) for key, value in ours[-1].items()}, f"plain {theirs[-1]:.1f}", flush=True
        )
    median = {key: statistics.median(one[key] for one in ours) for key in ours[0]}
    print("medians:", {key: round(value, 1) for key, value in median.items()})
    print(
        f"spark-submit {statistics.median(theirs):.1f}; over it {median['end of the run'] - statistics.median(theirs):.1f}"
    )


def polls(world: World, clients: int, seconds: float = 60) -> None:
    """CPU seconds and calls of the API server for `clients` hosts that each wait for one quiet application."""
    path = applications_path(NAMESPACE)
    server = next(p for p in psutil.process_iter(["name"]) if p.info["name"] == "kube-apiserver")

    def cost(look: object) -> float:
        stop = time.monotonic() + seconds
        threads = [threading.Thread(target=look, args=(stop, n)) for n in range(clients)]  # type: ignore[arg-type]
        before = server.cpu_times()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = server.cpu_times()
        return after.user + after.system - before.user - before.system

    def poll(stop: float, number: int) -> None:
        api = Api.connect(world.kubeconfig)
        time.sleep(5 * number / clients)
        while time.monotonic() < stop:
            api.get(f"{path}/application-{number}")
            time.sleep(5)

    def watch(stop: float, number: int) -> None:
        api = Api.connect(world.kubeconfig)
        while (left := stop - time.monotonic()) > 1:
            api.text(
                path,
                watch="1",
                fieldSelector=f"metadata.name=application-{number}",
                timeoutSeconds=str(min(10, int(left))),
            )

    idle = cost(lambda stop, number: time.sleep(max(0, stop - time.monotonic())))
    for name, how in (("polls each 5 s", poll), ("watches, opened anew each 10 s", watch)):
        used = cost(how) - idle
        print(
            f"{clients} clients for {seconds:.0f} s, {name}: {used:.2f} s of the API server's CPU", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["launch", "polls"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--clients", type=int, default=50)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_world(Path(folder)) as world:
        launch(world, given.runs) if given.what == "launch" else polls(world, given.clients)


if __name__ == "__main__":
    sys.exit(main())
