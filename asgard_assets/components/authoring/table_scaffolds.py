"""Scaffolds of tables: Silver, dbt, feature views, Python."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel, Field

from asgard_assets.components.authoring.defs_file import inline, name_for, write


class SilverParams(BaseModel):
    """Options of `dg scaffold defs asgard_assets.components.silver.SilverTables`."""

    table: str | None = Field(default=None, description="Name of the first table. Default: the input's name.")
    input: str = Field(default="bronze.orders", description="The table that it reads, as stage.table.")
    key: str = Field(default="id", description="Column that names a row.")


class SilverScaffolder(dg.Scaffolder[SilverParams]):
    """A folder of Silver tables, with a first one."""

    @classmethod
    def get_scaffold_params(cls) -> type[SilverParams]:
        return SilverParams

    def scaffold(self, request: dg.ScaffoldRequest[SilverParams]) -> None:
        given = request.params
        source = name_for(Path(given.input.replace(".", "/")))
        table, key = given.table or source, given.key
        write(
            request,
            "Every Python file beside this one is a Silver table: adding a file is enough.",
            "  {}\n",
        )
        if request.append:
            return
        (request.target_path / f"{table}.py").write_text(
            f'''\
"""[silver, {table}]: {given.input}, typed. Rows that break a rule go to [rejected, {table}] with the reason."""

from asgard_assets.transforms.rows import missing, split, typed
from asgard_assets.transforms.silver import silver


@silver(
    inputs=("{given.input}",),
    key=("{key}",),
    description="{table.replace("_", " ").capitalize()}, typed: one row each.",
    columns={{"{key}": "bigint"}},
)
def {table}({source}):
    rows = typed({source}, {{"{key}": "bigint"}})
    return split(rows, missing("{key}"), key=("{key}",)).select("{key}")
''',
            encoding="utf-8",
        )


class DbtParams(BaseModel):
    """Options of `dg scaffold defs asgard_assets.components.dbt.DbtModels`."""

    project: str = Field(
        default="dbt_project", description="Folder of the dbt project. It is made if it is not there."
    )
    source: str = Field(
        default="silver.orders", description="Table that the first model of a new project reads."
    )


class DbtScaffolder(dg.Scaffolder[DbtParams]):
    """A dbt project, an existing or a new one."""

    @classmethod
    def get_scaffold_params(cls) -> type[DbtParams]:
        return DbtParams

    def scaffold(self, request: dg.ScaffoldRequest[DbtParams]) -> None:
        root = request.project_root or Path.cwd()
        folder = root / request.params.project
        place = f"{{{{ project_root }}}}/{os.path.relpath(folder, root)}"
        if not (folder / "dbt_project.yml").exists():
            _dbt_project(folder, request.params.source)
        write(
            request,
            "Every model of the dbt project is an asset; add one there, nothing here.",
            f"  project: {inline(place)}\n",
        )


def _dbt_project(folder: Path, source: str) -> None:
    """A dbt project with one model. It needs no profiles.yml: what it builds is published to the lake."""
    stage, _, table = source.rpartition(".")
    stage, name, model = stage or "silver", name_for(folder), f"{table}_daily"
    files = {
        "dbt_project.yml": f"name: {name}\nversion: 1.0.0\nprofile: {name}\n",
        f"models/gold/{model}.sql": f"""\
{{{{ config(materialized='delta', partition_by='ds', unique_key=['ds']) }}}}
select count(*) as rows_of_day, ds
from {{{{ source('{stage}', '{table}') }}}}
where ds between '{{{{ var("min_date", "1970-01-01") }}}}' and '{{{{ var("max_date", "9999-12-31") }}}}'
group by ds
""",
        f"models/gold/{model}.yml": f"""\
version: 2
sources:
  - name: {stage}
    tables: [{{name: {table}}}]
models:
  - name: {model}
    description: How many rows {source} has for each day.
    columns:
      - {{name: rows_of_day, data_type: bigint, data_tests: [not_null]}}
""",
    }
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, encoding="utf-8")


class FeatureViewParams(BaseModel):
    """Options of `dg scaffold defs asgard_assets.components.feast.FeatureView`."""

    name: str | None = Field(default=None, description="Name of the view. Default: the last folder.")
    table: str = Field(default="gold/orders_daily", description="The table that it reads, as stage/table.")
    entity: str | None = Field(
        default=None, description="What the features are about. Default: the table's first word."
    )
    key: str | None = Field(default=None, description="Column that names it. Default: the entity and _id.")
    feature: list[str] = Field(
        default_factory=list,
        description="A feature and its type, such as orders_7d:bigint. Repeat it for more.",
    )
    ttl_days: int = Field(default=7, description="A value older than this many days is no longer used.")


class FeatureViewScaffolder(dg.Scaffolder[FeatureViewParams]):
    """A feature view over a Gold table."""

    @classmethod
    def get_scaffold_params(cls) -> type[FeatureViewParams]:
        return FeatureViewParams

    def scaffold(self, request: dg.ScaffoldRequest[FeatureViewParams]) -> None:
        given = request.params
        name = given.name or name_for(request.target_path)
        typed = {
            column: kind or "double" for column, _, kind in (one.partition(":") for one in given.feature)
        }
        features: dict[str, Any] = {
            column: {"type": kind, "description": f"Column {column} of {given.table}."}
            for column, kind in (typed or {"amount": "double"}).items()
        }
        lines = "".join(f"    {column}: {inline(feature)}\n" for column, feature in features.items())
        entity = given.entity or given.table.partition("/")[2].split("_")[0].removesuffix("s")
        write(
            request,
            f"Feast reads the files of {given.table}, which needs the columns ds, event_timestamp and created_at.",
            f"""\
  name: {inline(name)}
  description: {inline(f"Features from {given.table}, as of the end of each day.")}
  table: {inline(given.table)}
  entity: {inline(entity)} # what the features are about, and
  key: {inline(given.key or f"{entity}_id")} # its column
  ttl_days: {given.ttl_days} # an older value is no longer used
  features:
{lines}""",
        )


class TrainedModelParams(BaseModel):
    """Options of `dg scaffold defs asgard_assets.components.model.TrainedModel`."""

    name: str | None = Field(default=None, description="Name of the model. Default: the last folder.")
    table: str = Field(
        default="gold/orders_daily", description="The table of those who are asked about, as stage/name."
    )
    view: list[str] = Field(
        default_factory=list, description="A feature view to learn from. Repeat it for more."
    )
    label: str = Field(default="sum(amount)", description="What happens later, as an SQL aggregate.")


class TrainedModelScaffolder(dg.Scaffolder[TrainedModelParams]):
    """A model that is trained each week and predicts every day."""

    @classmethod
    def get_scaffold_params(cls) -> type[TrainedModelParams]:
        return TrainedModelParams

    def scaffold(self, request: dg.ScaffoldRequest[TrainedModelParams]) -> None:
        given = request.params
        name = given.name or name_for(request.target_path)
        write(
            request,
            "Trained each week by fit.py, beside this file. It predicts every day.",
            f"""\
  name: {inline(name)}
  description: {inline(f"What {given.label} will be, within 7 days of the day's end.")}
  task: regression # or classification: a label that is true or false
  table: {inline(given.table)}
  views: {inline(given.view or [name])}
  label:
    sql: {inline(given.label)}
    otherwise: "0"
  horizon_days: 7
  window_days: 21
""",
        )
        (request.target_path / "fit.py").write_text(
            """\
def fit(x, y, groups):
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(SimpleImputer(), StandardScaler(), Ridge()).fit(x, y)
""",
            encoding="utf-8",
        )


class TableParams(BaseModel):
    """Options of `dg scaffold defs asgard_assets.components.python.table`."""

    address: str | None = Field(
        default=None, description="The table, as stage/name. Default: model and the file's name."
    )
    reads: str = Field(default="gold/orders_daily", description="The table that it reads, as stage/name.")


class TableScaffolder(dg.Scaffolder[TableParams]):
    """A table that a Python function makes."""

    @classmethod
    def get_scaffold_params(cls) -> type[TableParams]:
        return TableParams

    def scaffold(self, request: dg.ScaffoldRequest[TableParams]) -> None:
        given, file = request.params, request.target_path
        if file.suffix == ".py":
            file.rmdir()  # `dg` makes a folder of every path
        else:
            file = file / f"{name_for(file)}.py"
        address = given.address or f"model/{name_for(file)}"
        file.write_text(
            f'''\
"""[{address.replace("/", ", ")}] from {given.reads}."""

from asgard_assets.components.python import table


@table(
    "{address}",
    deps=["{given.reads}"],
    key=["ds"],
    columns={{"rows_of_day": "bigint"}},
    description="How many rows {given.reads} has for each day.",
)
def {name_for(Path(address))}(lake, days):
    query = "select count(*) as rows_of_day, ds from {given.reads.replace("/", ".")} where ds in (select unnest(?)) group by ds"
    return lake.connect().execute(query, [days]).to_arrow_table()
''',
            encoding="utf-8",
        )
