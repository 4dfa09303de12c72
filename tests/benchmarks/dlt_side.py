"""dlt's side of the benchmark of small jobs: `python dlt_side.py JOB ADDRESS TOTAL FOLDER DESTINATION`.

Runs in an environment of its own (`dlt.lock`) and imports nothing of this repository.
"""

import os
import sys
from pathlib import Path


def main(job: str, url: str, total: int, folder: str, destination: str) -> None:
    os.environ["DLT_DATA_DIR"] = folder
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
    import dlt  # pyright: ignore[reportMissingImports]  an environment of its own
    from dlt.sources.rest_api import rest_api_source  # pyright: ignore[reportMissingImports]

    if job == "rows":
        asked = dlt.resource(lambda: [[{"id": n} for n in range(total)]], name="ids", selected=False)
        endpoint = {"path": "orders/{resources.ids.id}", "paginator": "single_page"}
        orders: dict = {"name": "orders", "parallelized": True, "endpoint": endpoint}
        resources: list = [asked, orders]
    else:
        paginator = {"type": "page_number", "base_page": 1, "page_param": "page", "total_path": "pages"}
        endpoint = {
            "path": "orders",
            "params": {"per_page": 100, "total": total},
            "data_selector": "data",
            "paginator": paginator,
        }
        resources = [{"name": "orders", "endpoint": endpoint}]
    source = rest_api_source({"client": {"base_url": url}, "resources": resources})
    place: object = dlt.destinations.duckdb(f"{folder}/orders.duckdb")
    more: dict = {}
    if destination != "duckdb":
        place = dlt.destinations.filesystem(f"file://{folder}/lake")
        more = {"loader_file_format": "parquet"}
    if destination == "delta":
        more = {"table_format": "delta"}
    pipeline = dlt.pipeline(
        "orders", destination=place, dataset_name="bronze", pipelines_dir=f"{folder}/state"
    )
    pipeline.run(source, write_disposition="replace", **more)
    read = pipeline.last_trace.last_normalize_info.row_counts["orders"]
    assert read == total, f"{read} rows of {total}"
    assert any(Path(folder).rglob("*orders*")), "nothing was written"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
