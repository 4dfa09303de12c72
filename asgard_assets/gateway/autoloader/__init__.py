"""`/api/v1`: ingestion without code."""
