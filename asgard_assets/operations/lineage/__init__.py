"""`asgard lineage`: where a table or a column comes from, and what is made of it."""
