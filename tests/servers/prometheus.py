"""A real Prometheus and its promtool, Debian's, out of its package."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.checkout import ROOT
from tests.patience import ended, patience, wait_until
from tests.servers.builds import answers, free_port
from tests.servers.debian import unpacked

MONITORING = ROOT / "deployments" / "monitoring"


@dataclass(frozen=True)
class Prometheus:
    address: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that the expression has now."""
        asked = f"{self.address}/api/v1/query?query={urllib.parse.quote(expression)}"
        with urllib.request.urlopen(asked, timeout=patience(10)) as response:
            return json.load(response)["data"]["result"]


def promtool(*arguments: str) -> str:
    """What promtool says in the folder of the rules; fails the test where it ends with an error."""
    program = unpacked("prometheus", "prometheus") / "usr/bin/promtool"
    done = subprocess.run([program, *arguments], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def prometheus(folder: Path, targets: Sequence[str]) -> Iterator[Prometheus]:
    """A server with the shipped configuration and rules, that scrapes these targets each second instead."""
    told = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    told["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    told["scrape_configs"][0]["static_configs"] = [{"targets": list(targets)}]
    told["rule_files"] = [str(MONITORING / name) for name in told["rule_files"]]
    folder.mkdir(parents=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(told))
    program, port = unpacked("prometheus", "prometheus") / "usr/bin/prometheus", free_port()
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    found = Prometheus(f"http://127.0.0.1:{port}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until(
                lambda: process.poll() is not None or answers(f"{found.address}/-/ready"),
                30,
                "Prometheus answers",
            )
            assert process.poll() is None, (folder / "log").read_text()[-1500:]
            yield found
        finally:
            ended(process)
