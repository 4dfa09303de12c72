"""`/ui`: the platform as web pages, made on the server. There is no script in them."""
