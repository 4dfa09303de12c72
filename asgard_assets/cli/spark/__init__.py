"""`asgard spark-server`."""
