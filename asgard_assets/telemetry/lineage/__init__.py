"""Where data comes from: OpenLineage events of runs, where they are sent, and the way of a column through the tables."""
