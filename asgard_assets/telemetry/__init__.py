"""What monitoring is told: figures for Prometheus, made of facts that Dagster, the lake and Kafka already hold."""
