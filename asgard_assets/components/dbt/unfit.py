"""What a model's configuration asks for and the lake cannot hold. Imports neither Dagster nor dbt: the adapter asks too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from asgard_assets.lake import DS

_NO_TYPE = re.compile(r"\s*(union|variant|geometry|bignum)\b", re.IGNORECASE)


def unfit(node: Mapping[str, Any]) -> str | None:
    """Why the node cannot give a complete, lasting table, whatever the run; None where nothing speaks against it."""
    config, name = node.get("config") or {}, node["name"]
    if (config.get("contract") or {}).get("enforced"):
        for column in (node.get("columns") or {}).values():
            if _NO_TYPE.match(column.get("data_type") or ""):
                return (
                    f"{name}: column {column['name']} has type {column['data_type']} in its contract, which a Delta "
                    "table cannot hold; cast it in the model"
                )
    return _unfit_delta(node, config, name) if config.get("materialized") == "delta" else None


def _unfit_delta(node: Mapping[str, Any], config: Mapping[str, Any], name: str) -> str | None:
    days, strategy = config.get("partition_by"), config.get("incremental_strategy")
    if days and days not in (DS, [DS]):
        return f"{name}: delta tables are partitioned by `{DS}` or not at all, not by {days}"
    if strategy not in (None, "replace", "merge", "append"):
        return (
            f"{name}: incremental_strategy {strategy} is not one of delta's: replace (the default), merge, "
            "append. For dbt-duckdb's own strategies use materialized: incremental"
        )
    if strategy == "merge" and not config.get("unique_key"):
        return f"{name}: incremental_strategy merge needs config(unique_key=…)"
    if strategy == "append" and days:
        return (
            f"{name}: append beside partition_by would double the rows of a day that is run again; use "
            "replace or merge"
        )
    if node.get("language") == "python":
        return f"{name} is a Python model: use materialized: table"
    return None
