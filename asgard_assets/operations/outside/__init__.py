"""Sources in a YAML file that is in no project."""
