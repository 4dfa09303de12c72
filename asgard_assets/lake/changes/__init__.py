"""What changes a table beside its rows: its columns, its name, its end."""
