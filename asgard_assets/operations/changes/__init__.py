"""Changes of tables, sources and the lake that are made on purpose: each says what it would do before it does it."""
