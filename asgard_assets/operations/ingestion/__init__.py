"""Sources, sinks and their syncs, as Airbyte keeps them."""
