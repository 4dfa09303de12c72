"""`python -m asgard_assets.spark.log_store`: compile the jar again, after a change of its Java."""

from asgard_assets.spark.log_store import SHIPPED, compile_into

compile_into(SHIPPED)
