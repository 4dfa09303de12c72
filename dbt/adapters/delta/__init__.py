"""dbt on DuckDB, published to Delta: dbt-duckdb with a lake behind it (`type: delta` in profiles.yml).

A project needs no edit: `table`, `incremental`, `seed`, `snapshot` and Python models are built by dbt-duckdb's
own materializations in a database that lives as long as the run, and what passed its tests is published to
the lake at the end. `materialized: delta` streams a query straight into the lake, by days where asked.
"""

from dbt.adapters.base import AdapterPlugin

from dbt.adapters.delta.connections import DeltaCredentials
from dbt.adapters.delta.impl import DeltaAdapter
from dbt.include import delta

Plugin = AdapterPlugin(
    adapter=DeltaAdapter,  # pyright: ignore[reportArgumentType]
    credentials=DeltaCredentials,
    include_path=delta.PACKAGE_PATH,
    dependencies=["duckdb"],
)
