"""What a person does with sources and tables from the command line: look, estimate, pause, load again, repair."""
