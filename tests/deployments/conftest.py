"""The demo's REST API as a source for connectors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.checkout import ROOT
from tests.end_to_end.homes import free_port, listens
from tests.patience import ended, wait_until


@pytest.fixture
def demo_api() -> Iterator[str]:
    """The demo's REST API, on a port of its own."""
    port = free_port()
    command = [sys.executable, "-m", "deployments.local.demo.api", "--port", str(port), "--users", "120"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: listens(port), 60, "the demo's API answers")
    yield f"http://127.0.0.1:{port}"
    ended(process)
