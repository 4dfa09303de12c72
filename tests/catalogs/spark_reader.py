"""A Spark that reads Delta tables by the names of a Hive Metastore: for each name on a line, its rows as Arrow.

`python -m tests.catalogs.spark_reader thrift://…`, with the lake's settings in the environment.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from tests.checkout import ROOT


class Spark:
    """The running reader."""

    def __init__(self, process: subprocess.Popen[str]):
        self._process = process

    def rows(self, table: str) -> pa.Table:
        """The rows of `database.name`."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{table}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            mark, _, text = line.rstrip().partition(" ")
            if mark == "rows":
                return pa.ipc.open_stream(base64.b64decode(text)).read_all()
            assert mark != "error", text
        raise AssertionError("Spark ended")


@contextmanager
def spark(metastore: str, log: str) -> Iterator[Spark]:
    """Started at once, ready at the first question."""
    command = [sys.executable, "-m", "tests.catalogs.spark_reader", metastore]
    with open(log, "w") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
        )
        try:
            yield Spark(process)
        finally:
            assert process.stdin
            process.stdin.close()
            process.wait(60)


def _serve(metastore: str) -> None:
    from pyspark.sql import SparkSession

    from asgard_assets.spark.session import session_conf

    conf = session_conf() | {
        "spark.sql.catalogImplementation": "hive",
        "spark.hadoop.hive.metastore.uris": metastore,
        "spark.sql.warehouse.dir": "/nowhere",
    }
    builder = SparkSession.builder.master("local[1]")
    for name, value in conf.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    for line in sys.stdin:
        try:
            found = session.sql(f"select * from {line.strip()}").toArrow()
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, found.schema) as stream:
                stream.write_table(found)
            print("rows", base64.b64encode(sink.getvalue()).decode(), flush=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test is told
            print("error", str(error).replace("\n", " ")[:1000], flush=True)
    session.stop()


if __name__ == "__main__":
    _serve(sys.argv[1])
