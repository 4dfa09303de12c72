"""A file source with its landing folder, loaded as the asset does it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.load import Loaded, commit, load
from asgard_assets.ingest.files.plan.listing import file_states
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.quality.audit import audit
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAYS = ["2026-10-05", "2026-10-06", "2026-10-07"]


class Bench:
    """One source with its landing folder, loaded as the asset does it; with a session by Spark tasks, however few
    the files are."""

    def __init__(self, spark: SparkSession | None, lake: Lake, settings: Settings, **changes: Any) -> None:
        self.spark, self.lake = spark, lake
        self.landing = Landing.from_settings(settings)
        fields = {"name": "invoices", "path": "invoices", "ds": {"type": "folder"}, "description": "d"}
        self.source = FileSource.model_validate(fields | changes)
        self.folder = Path(settings.landing_root) / self.source.path
        self.folder.mkdir(parents=True)

    def drop(self, day: str, name: str, content: str | bytes) -> Path:
        path = self.folder / f"ds={day}" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def put(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.write_text(content)
        return path

    def stage(self, days: list[str] | None = None, **how: Any) -> Loaded:
        if self.spark:
            how.setdefault("driver_files", 0)
        return load(self._session, self.lake, self.landing, self.source, days or DAYS, **how)

    def _session(self) -> SparkSession:
        assert self.spark is not None, "more than the driver reads by itself"
        return self.spark

    def publish(self, loaded: Loaded) -> None:
        if loaded.staging.days:
            assert audit(self.lake, loaded.staging, self.source.spec).bad_days == {}
        commit(self.lake, loaded)

    def run(self, days: list[str] | None = None, **how: Any) -> Loaded:
        loaded = self.stage(days, **how)
        self.publish(loaded)
        return loaded

    def rows(self, columns: str, order: str = "ds, _file, _row") -> list[tuple]:
        return (
            self.lake.connect()
            .execute(f"select {columns} from bronze.{self.source.name} order by {order}")
            .fetchall()
        )

    def quarantined(self) -> list[tuple]:
        """File, row, raw text or reason of everything in quarantine."""
        if self.lake.table("quarantine", self.source.name) is None:
            return []
        query = f"""select split_part(file, '/', -1), row, coalesce(raw, reason)
            from quarantine.{self.source.name} order by all"""
        return self.lake.connect().execute(query).fetchall()

    def hash(self) -> str:
        rows = self.rows("* exclude (_ingested_at, _metadata)", "all")
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    def states(self) -> set[str]:
        return {s.state for s in file_states(self.lake, self.landing, self.source)}
