"""Ingestion without code: sources that are made, tried, estimated and run through the API."""
