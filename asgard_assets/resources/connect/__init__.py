"""Spark Connect as a place to run steps: the launcher, and the lease of a session."""

from asgard_assets.resources.connect.launcher import ConnectStepLauncher
from asgard_assets.resources.connect.lease import Borrower, Lease, address_of, pool

__all__ = ["Borrower", "ConnectStepLauncher", "Lease", "address_of", "pool"]
