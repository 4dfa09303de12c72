"""Features and models that were sent to the API: their definitions in the lake, and what makes them."""
