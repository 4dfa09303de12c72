"""One finished demo for the whole test session, and copies of it for tests that change data."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.end_to_end.homes import BIN, Demo, Home, listens
from tests.patience import ended, wait_until


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """`asgard demo` in an empty home, watched from outside.

    With ASGARD_FINISHED_DEMO=DIR it is run once in that folder and found there by later test sessions, as in CI.
    """
    import psutil

    kept = os.environ.get("ASGARD_FINISHED_DEMO")
    made = Demo(Path(kept).absolute() if kept else tmp_path_factory.mktemp("demo") / "home")
    figures = made.path / "figures.json"
    if figures.exists():
        return Demo(made.path, **json.loads(figures.read_text()))
    made.path.mkdir(parents=True)
    began = time.monotonic()
    log = made.path / "demo.out"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(BIN / "asgard"), "demo"], cwd=ROOT, env=made.env, stdout=output, stderr=subprocess.STDOUT
        )
    root, drivers = psutil.Process(process.pid), set[int]()
    while process.poll() is None:
        total = 0
        for one in [root, *_children(root)]:
            try:
                # Between fork and exec a child of the driver looks like the driver, its memory included.
                if one.ppid() in drivers and _is_driver(one):
                    continue
                total += one.memory_info().rss
                if _is_driver(one):
                    drivers.add(one.pid)
            except psutil.Error:
                continue
        made.peak_megabytes = max(made.peak_megabytes, total / 1e6)
        time.sleep(0.5)
    made.seconds = time.monotonic() - began
    made.said, made.spark_drivers = log.read_text(errors="replace"), len(drivers)
    assert process.returncode == 0, made.said
    told = ("api_port", "airbyte_port", "said", "seconds", "peak_megabytes", "spark_drivers")
    figures.write_text(json.dumps({name: getattr(made, name) for name in told}))
    return made


def _is_driver(process) -> bool:
    command = process.cmdline()
    return (
        "org.apache.spark.deploy.SparkSubmit" in command
        and "-cp" in command
        and "org.apache.spark.launcher.Main" not in command
    )


def _children(process):
    import psutil

    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


@pytest.fixture
def copy_of_demo(demo: Demo, tmp_path: Path) -> Home:
    """A home of the test's own that starts where the demo ended."""
    # The same ports: requests are business data, addresses included.
    home = Home(tmp_path / "home", api_port=demo.api_port, airbyte_port=demo.airbyte_port)
    demo.copy_to(home.path)
    return home


@pytest.fixture
def demo_api() -> Iterator[Callable[[Home], None]]:
    """Start the demo's API for a home; it stops with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(home: Home) -> None:
        log = str(home.path / "requests.jsonl")
        api = ["deployments.local.demo.api", "--port", str(home.api_port), "--log", log]
        started.append(home.start("python", "-m", *api))
        wait_until(lambda: listens(home.api_port), 30, f"port {home.api_port} answers")

    yield start
    for server in started:
        ended(server, 15)
