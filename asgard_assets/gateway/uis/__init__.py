"""The pages of Dagster, MLflow and Feast behind the gateway's own login."""
