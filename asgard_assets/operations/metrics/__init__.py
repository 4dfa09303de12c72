"""Figures for Prometheus: read from Dagster's history, the lake and Kafka; served by the gateway and `asgard metrics`."""
