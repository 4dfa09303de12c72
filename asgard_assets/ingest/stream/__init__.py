"""Records between APIs, Kafka and the lake: `fetch` sends what an API answers, `catch_up` makes it a Bronze table."""
