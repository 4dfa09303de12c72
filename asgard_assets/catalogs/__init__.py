"""Catalogs of others that follow the lake: Iceberg REST (Nessie)."""
