"""The `asgard` command: prints what the operations return."""

from asgard_assets.cli.main import app, main

__all__ = ["app", "main"]
