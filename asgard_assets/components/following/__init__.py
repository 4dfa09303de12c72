"""How tables follow their inputs: what they read, what of them is stale, and what is asked for."""
