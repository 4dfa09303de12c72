"""`asgard mcp`: what the REST API can do, as tools of a Model Context Protocol server."""
