"""A Spark Connect server as a place to run: its address, sessions on it, and a server on this machine."""

from asgard_assets.spark.connect.address import Address
from asgard_assets.spark.connect.pool import SessionPool
from asgard_assets.spark.connect.server import LocalServer

__all__ = ["Address", "LocalServer", "SessionPool"]
