"""What runs have cost, from what they recorded of themselves."""
