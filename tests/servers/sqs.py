"""AWS services that nobody here wrote: moto, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

from tests.patience import ended, patience
from tests.servers.builds import answers, free_port
from tests.servers.foreign import python_server


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """The address at which all of AWS's services answer; their state is empty."""
    program = python_server("moto") / "moto_server"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (folder / "moto.log").open("w") as log:
        command = [str(program), "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ))
    try:
        end = time.monotonic() + patience(60)
        while not answers(f"{url}/moto-api/"):
            assert process.poll() is None and time.monotonic() < end, "moto did not start"
            time.sleep(0.1)
        yield url
    finally:
        ended(process)


@contextmanager
def queue(folder: Path, visibility_seconds: int = 1) -> Iterator[tuple[str, object]]:
    """The address of an empty queue, and a client of it."""
    with moto(folder) as url:
        client = boto3.client("sqs", endpoint_url=url, region_name="us-east-1")
        attributes = {"VisibilityTimeout": str(visibility_seconds)}
        yield client.create_queue(QueueName="orders", Attributes=attributes)["QueueUrl"], client
