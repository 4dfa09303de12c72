"""dlt's side of the benchmark of databases: `python dlt_sql_side.py ADDRESS ROWS FOLDER BACKEND`.

Runs in an environment of its own (`dlt_sql.lock`) and imports nothing of this repository.
"""

import os
import sys
from pathlib import Path


def main(url: str, total: int, folder: str, backend: str) -> None:
    os.environ["DLT_DATA_DIR"] = folder
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
    import dlt  # pyright: ignore[reportMissingImports]  an environment of its own
    from dlt.sources.sql_database import sql_table  # pyright: ignore[reportMissingImports]

    more: dict = {"backend_kwargs": {"return_type": "arrow_stream"}} if backend == "connectorx" else {}
    table = sql_table(url, "orders", backend=backend, chunk_size=100_000, reflection_level="full", **more)
    place = dlt.destinations.filesystem(f"file://{folder}/lake")
    pipeline = dlt.pipeline(
        "orders", destination=place, dataset_name="bronze", pipelines_dir=f"{folder}/state"
    )
    pipeline.run(table, write_disposition="replace", loader_file_format="parquet", table_format="delta")
    read = pipeline.last_trace.last_normalize_info.row_counts["orders"]
    assert read == total, f"{read} rows of {total}"
    assert any(Path(folder).rglob("*.parquet")), "nothing was written"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
