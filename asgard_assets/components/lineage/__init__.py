"""Lineage from Dagster's records: what the sensor sends, and the graph of columns."""
