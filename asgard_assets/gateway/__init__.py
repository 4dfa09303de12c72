"""The REST API: serves what the operations return."""
