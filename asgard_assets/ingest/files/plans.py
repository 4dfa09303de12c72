"""Batch plans: what a load will read, written down before it reads.

Plan N of a source is an immutable Parquet file of (path, ds, size, time, etag). The commit that publishes a day
carries N as the transaction number of `source/day`, and the plan says which number that day had before. So the
plans that were committed for a day are exactly those on the chain that begins at the day's transaction number:
a load that was killed before its commit has left a plan on no chain, and no other day can hide it.

`replaces: true` begins a chain anew: the day's files are those of this plan and no others.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.files.landing import File, s3_client
from asgard_assets.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


@dataclass(frozen=True)
class Plan:
    """The files that load number `number` of a source reads, by day.

    `previous` is each day's transaction number when the plan was made (0: none): the commit may only follow
    that one. Days without files are named there too.
    """

    source: str
    number: int
    previous: Mapping[str, int]
    files: Mapping[str, tuple[File, ...]]
    replaces: bool = False

    @property
    def transactions(self) -> dict[str, int]:
        """Transaction identifier and number of each day, as the commit must carry them."""
        return {app_id(self.source, day): self.number for day in self.previous}


def app_id(source: str, ds: str) -> str:
    """Transaction identifier under which the day's plans are committed."""
    return f"{source}/{ds}"


def write_plan(
    lake: Lake,
    source: str,
    previous: Mapping[str, int],
    files: Mapping[str, Iterable[File]],
    replaces: bool = False,
) -> Plan:
    """Write the source's next plan, atomically, under a number that no other plan has."""
    number = max([*plan_numbers(lake, source), *previous.values()], default=0)
    listed = {day: tuple(sorted(found)) for day, found in files.items()}
    while True:
        number += 1
        plan = Plan(source, number, dict(previous), listed, replaces)
        if write_once(lake, f"{folder(lake, source)}/{number:08d}.parquet", _to_parquet(plan)):
            return plan


def read_plan(lake: Lake, source: str, number: int) -> Plan | None:
    """Plan `number`; None where its file is gone."""
    import pyarrow as pa

    try:
        with lake.filesystem.open_input_file(f"{folder(lake, source)}/{number:08d}.parquet") as file:
            table = frugal(pa.BufferReader(file.read())).read(use_threads=False)
    except FileNotFoundError:
        return None
    told = json.loads((table.schema.metadata or {})[b"plan"])
    files: dict[str, list[File]] = {}
    for row in table.to_pylist():
        files.setdefault(row.pop("ds"), []).append(File(**row))
    return Plan(
        source, number, told["previous"], {d: tuple(found) for d, found in files.items()}, told["replaces"]
    )


def frugal(file: Any) -> pq.ParquetFile:
    """A Parquet file that a sensor reads: its memory is malloc's, for Arrow's pool keeps tens of MB of what was read
    before, as do the threads and datasets of `read_table`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pool = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        return pq.ParquetFile(file)
    finally:
        pa.set_memory_pool(pool)


def plan_numbers(lake: Lake, source: str, above: int = 0) -> list[int]:
    """Numbers of the plans that were ever written, in order."""
    from pyarrow import fs as pafs

    infos = lake.filesystem.get_file_info(pafs.FileSelector(folder(lake, source), allow_not_found=True))
    numbers = (int(i.base_name[:8]) for i in infos if i.base_name.endswith(".parquet"))
    return sorted(number for number in numbers if number > above)


def folder(lake: Lake, source: str) -> str:
    return f"{lake.root.removeprefix('s3://')}/_plans/{source}"


def file_fields() -> pa.Schema:
    """How a file is written down, here and in the manifest."""
    import pyarrow as pa

    return pa.schema(
        [
            ("path", pa.string()),
            ("size", pa.int64()),
            ("modified_us", pa.int64()),
            ("etag", pa.string()),
            ("ds", pa.string()),
        ]
    )


def _to_parquet(plan: Plan) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        (f.path, f.size, f.modified_us, f.etag, day) for day, listed in plan.files.items() for f in listed
    ]
    columns = list(zip(*rows, strict=True)) or [()] * 5
    told = {
        "previous": dict(plan.previous),
        "replaces": plan.replaces,
        "written_at": datetime.now(UTC).isoformat(),
    }
    schema = file_fields().with_metadata({"plan": json.dumps(told)})
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_arrays(
            [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
        ),
        sink,
    )
    return sink.getvalue().to_pybytes()


def write_once(lake: Lake, path: str, content: bytes) -> bool:
    """Create the file whole, or return False because it exists. On S3 by a conditional put."""
    if lake.remote:
        from botocore.exceptions import ClientError

        bucket, _, key = path.partition("/")
        try:
            s3_client(lake.endpoint, lake.region).put_object(
                Bucket=bucket, Key=key, Body=content, IfNoneMatch="*"
            )
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                return False
            raise
        return True
    parent = os.path.dirname(path)
    os.makedirs(parent, exist_ok=True)
    draft = f"{parent}/.{uuid.uuid4().hex}"
    with open(draft, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
    return True
