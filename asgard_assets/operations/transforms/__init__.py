"""Tables that are made by SQL through the API: submit, follow, list."""
