"""What other programs and browsers ask: the REST API, tools for agents, pages."""
