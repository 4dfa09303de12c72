"""The test cluster as a host of Dagster steps sees it: an account of few rights, S3, a source, and a lake."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from asgard_assets.lake import Lake
from asgard_assets.spark.kube import Api
from asgard_assets.spark.kubernetes import applications_path
from asgard_assets.spark.s3 import S3Transport
from tests.checkout import ROOT
from tests.cluster.stories import POOL
from tests.patience import ended, patience
from tests.required import missing
from tests.servers.builds import answers
from tests.servers.s3 import build as build_s3

NODE = "10.111.0.1"  # this host, as pods reach it
# The namespace and the secret of a deployment that names none.
NAMESPACE, S3_SECRET, IMAGE = "asgard", "s3-credentials", "localhost/asgard:test"
S3_PORT, API_PORT = 17070, 18765
USERS = 60
# What must never be seen in an object, a log or an event.
CANARIES = {"AWS_SECRET_ACCESS_KEY": "canary-s3-secret-7f3a", "ASGARD_DEMO_TOKEN": "demo-token"}
ACCESS_KEY = "cluster-test"
SMALL = {  # two cores carry four of them
    "driver": {"coreRequest": "200m", "memory": "768m", "memoryOverhead": "896m"},
    "executor": {"instances": 1, "coreRequest": "200m", "memory": "512m", "memoryOverhead": "512m"},
}
KINDS = {
    "sparkapplications": "/apis/sparkoperator.k8s.io/v1beta2",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    **dict.fromkeys(("pods", "secrets", "configmaps", "services"), "/api/v1"),
}


@dataclass
class World:
    """Paths and addresses; commands against the cluster as its administrator."""

    folder: Path
    admin: str
    kubeconfig: str
    environment: dict[str, str]
    api: Api
    before: frozenset[str] = frozenset()
    counter: Iterator[int] = field(default_factory=count)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def kubectl(self, *arguments: str, body: str | None = None, check: bool = True) -> str:
        done = subprocess.run(
            ["kubectl", *arguments],
            env={**os.environ, "KUBECONFIG": self.admin},
            input=body,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def objects(self, kind: str, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
        return self.api.get(f"{KINDS[kind]}/namespaces/{namespace}/{kind}")["items"]

    def left_behind(self, *prefixes: str) -> list[str]:
        """What the tests have not found in the namespace; with `prefixes` only what is called, or owned by, so."""
        found = []
        for kind in KINDS:
            for thing in self.objects(kind):
                meta = thing["metadata"]
                names = [meta["name"], *(owner["name"] for owner in meta.get("ownerReferences", []))]
                wanted = not prefixes or any(name.startswith(prefixes) for name in names)
                if wanted and f"{kind}/{meta['name']}" not in self.before:
                    found.append(f"{kind}/{meta['name']}")
        return found

    def nothing_left(self, *prefixes: str, seconds: float = 120) -> None:
        """Nothing of launched steps may be left after a while."""
        wait_for(
            lambda: f"nothing left behind; left: {self.left_behind(*prefixes)}",
            lambda: not self.left_behind(*prefixes),
            seconds,
            pause=1,
        )

    def login(self, account: str, target: Path, namespace: str = NAMESPACE) -> None:
        """A kubeconfig of that service account."""
        config = yaml.safe_load(Path(self.admin).read_text())
        token = self.kubectl("create", "token", account, "-n", namespace, "--duration", "8h").strip()
        config["users"][0]["user"] = {"token": token}
        target.write_text(yaml.safe_dump(config))

    def home(self, name: str, **variables: str) -> Home:
        """A Dagster home and an empty lake of its own."""
        folder = self.folder / f"{name}-{next(self.counter)}"
        (folder / "dagster").mkdir(parents=True)
        text = (ROOT / "deployments" / "local" / "dagster.yaml").read_text()
        (folder / "dagster" / "dagster.yaml").write_text(text)
        with dg.DagsterInstance.from_config(str(folder / "dagster")) as instance:
            instance.event_log_storage.set_concurrency_slots(POOL, 2)
        lake = f"s3://lake/{folder.name}"
        environment = {
            **os.environ,
            **self.environment,
            "ASGARD_HOME": str(folder),
            "DAGSTER_HOME": str(folder / "dagster"),
            "ASGARD_LAKE": lake,
            "ASGARD_LAUNCHER": "kubernetes",
            "KUBECONFIG": self.kubeconfig,
            **variables,
        }
        return Home(self, folder, environment, lake)


@dataclass
class Home:
    """One history and one lake; runs `dagster asset materialize` as a user does."""

    world: World
    folder: Path
    environment: dict[str, str]
    lake_root: str

    def start(
        self,
        select: str,
        *partition: str,
        module: str = "asgard_assets.definitions",
        at: Path = ROOT,
        **variables: str,
    ) -> subprocess.Popen[bytes]:
        """The command, started in the folder `at`; its output is in `host.log`."""
        option = (
            ["--partition", *partition]
            if len(partition) == 1
            else ["--partition-range", "...".join(partition)]
        )
        command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", module, "--select", select]
        with (self.folder / "host.log").open("ab") as out:
            process = subprocess.Popen(
                [*command, *(option if partition else [])],
                cwd=at,
                env={**self.environment, **variables},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.world.started.append(process)
        return process

    def run(self, select: str, *partition: str, seconds: float = 540, **more: Any) -> int:
        return self.start(select, *partition, **more).wait(seconds)

    @property
    def said(self) -> str:
        return (self.folder / "host.log").read_text(errors="replace")

    @property
    def run_id(self) -> str:
        """The last run's id, as the host's log tells it; empty before it begins."""
        return next(
            iter(reversed(re.findall(r" - ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}) - ", self.said))), ""
        )

    def pods(self, role: str, phase: str = "Running") -> list[dict[str, Any]]:
        """The last run's living pods of that role and phase."""
        return [
            pod
            for pod in self.world.objects("pods")
            if pod["metadata"]["name"].startswith(f"asgard-{self.run_id[:8]}-")
            and pod["metadata"]["labels"].get("spark-role") == role
            and pod["status"].get("phase") == phase
            and not pod["metadata"].get("deletionTimestamp")
        ]

    def driver(self, seconds: float = 300) -> str:
        """Name of the last run's driver pod, once it runs."""
        (pod,) = wait_for("a running driver pod", lambda: self.run_id and self.pods("driver"), seconds)
        return pod["metadata"]["name"]

    def nothing_left(self, seconds: float = 120) -> None:
        """No object of this home's runs is left in the cluster, no message in the exchange, and no slot of a pool.

        A run whose host was killed has its slot until somebody tells Dagster.
        """
        runs = set(re.findall(r"asgard-[0-9a-f]{8}-", self.said)) | {f"asgard-{self.run_id[:8]}-"}
        started = time.monotonic()
        self.world.nothing_left(*runs, seconds=seconds)
        wait_for(lambda: f"an empty exchange; left: {self.exchange()}", lambda: not self.exchange(), 30)
        wait_for(
            lambda: f"free slots; taken: {self.slots()}",
            lambda: not self.slots() or self.status() == "STARTED",
            30,
        )
        print(f"nothing left after {time.monotonic() - started:.0f} s")

    def slots(self) -> set[str]:
        """Runs that hold a slot of the stories' pool."""
        with dg.DagsterInstance.from_config(str(self.folder / "dagster")) as instance:
            return set(instance.event_log_storage.get_concurrency_info(POOL).active_run_ids)

    def exchange(self) -> list[str]:
        """Names of the objects through which host and drivers talk."""
        at = S3Transport.at(f"{self.lake_root}/_launcher", self.environment["ASGARD_S3_ENDPOINT"])
        found = at.client.list_objects_v2(Bucket=at.bucket, Prefix=f"{at.prefix}/")
        return [entry["Key"] for entry in found.get("Contents", [])]

    @property
    def lake(self) -> Lake:
        return Lake(self.lake_root, self.world.environment["ASGARD_S3_ENDPOINT"])

    def log(self) -> list[dg.EventLogEntry]:
        with dg.DagsterInstance.from_config(str(self.folder / "dagster")) as instance:
            return list(instance.all_logs(instance.get_runs(limit=1)[0].run_id))

    def status(self) -> str:
        with dg.DagsterInstance.from_config(str(self.folder / "dagster")) as instance:
            return instance.get_runs(limit=1)[0].status.value

    def figures(self) -> dict[str, float]:
        """What the launcher says of the last driver: seconds to each part of its start, executors, calls."""
        said = [e.dagster_event for e in self.log() if e.dagster_event and "pod after" in (e.message or "")]
        assert said, self.said[-4000:]
        return {name: value.value for name, value in said[-1].event_specific_data.metadata.items()}  # pyright: ignore

    def failure(self) -> Any:
        """What the last failed step says: its error, and the metadata of a dg.Failure."""
        found = [e.dagster_event for e in self.log() if e.dagster_event and e.dagster_event.is_step_failure]
        assert found, self.said[-4000:]
        return found[-1].event_specific_data


def wait_for(what: Any, found: Any, seconds: float, pause: float = 0.5) -> Any:
    deadline = time.monotonic() + patience(seconds)
    while True:
        result = found()
        if result:
            return result
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what() if callable(what) else what}"
        time.sleep(pause)


def cluster() -> str:
    """KUBECONFIG of the running cluster, which is started where it is not; `missing` where it cannot be."""
    done = subprocess.run(
        ["bash", str(ROOT / "deployments/cluster/up.sh")], capture_output=True, text=True, check=False
    )
    if done.returncode:
        missing((done.stderr or done.stdout).strip()[-2000:])
    return done.stdout.strip().splitlines()[-1]


def import_image(name: str = "test") -> None:
    """Put the image of the code as it is now into the node; layers that it has are not copied."""
    script = f". {ROOT}/deployments/cluster/env.sh; cd {ROOT}; exec {sys.executable} -m deployments.images.build --import {name}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@contextmanager
def open_world(folder: Path) -> Iterator[World]:
    admin = cluster()
    import_image()
    os.environ["PATH"] = f"{built()}/bin:{os.environ['PATH']}"
    with ExitStack() as stack:
        os.environ.update({k: v for k, v in environment().items() if k.startswith("AWS_")})
        stack.callback(end, start_s3(folder))
        demo = subprocess.Popen(
            [sys.executable, "-m", "deployments.local.demo.api", "--host", NODE, "--port", str(API_PORT), "--users", str(USERS), "--no-faults"],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        stack.callback(end, demo)
        wait_for("the demo API", lambda: answers(f"http://{NODE}:{API_PORT}/health"), 30)
        api = Api.connect(admin)
        world = World(folder, admin, str(folder / "launcher.kubeconfig"), environment(), api)
        stack.callback(lambda: [end(process) for process in world.started])
        secret = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, **CANARIES}
        arguments = [f"--from-literal={key}={value}" for key, value in secret.items()]
        world.kubectl("delete", "secret", S3_SECRET, "-n", NAMESPACE, "--ignore-not-found")
        world.kubectl("create", "secret", "generic", S3_SECRET, "-n", NAMESPACE, *arguments)
        # The host has the rights of the chart's service account, and no others.
        world.login("asgard", Path(world.kubeconfig))
        for app in world.objects("sparkapplications"):
            api.delete(f"{applications_path(NAMESPACE)}/{app['metadata']['name']}")
        wait_for("a namespace without pods", lambda: not world.objects("pods"), 120)
        world.before = frozenset(world.left_behind())
        yield world


def environment() -> dict[str, str]:
    """What the host of the steps is told; the names are those of a deployment."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        **CANARIES,
        "ASGARD_S3_ENDPOINT": f"http://{NODE}:{S3_PORT}",
        "ASGARD_DEMO_API_URL": f"http://{NODE}:{API_PORT}",
        "SPARK_IMAGE": IMAGE,
        "ENVIRONMENT": "test",
        "ASGARD_SPARK_SPEC": json.dumps(SMALL),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "PYTHONPATH": str(ROOT),
    }


def start_s3(folder: Path, port: int = S3_PORT) -> subprocess.Popen[bytes]:
    """versitygw at the address that pods reach; it can be stopped and started again on the same data."""
    (folder / "s3" / "lake").mkdir(parents=True, exist_ok=True)
    keys = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": CANARIES["AWS_SECRET_ACCESS_KEY"]}
    process = subprocess.Popen(
        [
            str(build_s3()),
            "-q",
            "-p",
            f"{NODE}:{port}",
            "--health",
            "/health",
            "posix",
            str(folder / "s3"),
        ],
        env={**os.environ, **keys},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for("versitygw", lambda: answers(f"http://{NODE}:{port}/health"), 30)
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        ended(process)


def built() -> str:
    """The folder of the cluster's programs, helm among them."""
    script = f". {ROOT}/deployments/cluster/env.sh; echo $built"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def users(home: Home, *days: str, count: int = USERS) -> None:
    """A published bronze/users table in the home's lake, for sources that ask once a user."""
    import pyarrow as pa

    rows = pa.table(
        {
            "id": pa.array(list(range(1, count + 1)) * len(days), pa.int64()),
            "ds": [d for d in days for _ in range(count)],
        }
    )
    staging = home.lake.stage("bronze", "users", rows.schema, days)
    home.lake.write(staging, rows)
    home.lake.publish(staging)
