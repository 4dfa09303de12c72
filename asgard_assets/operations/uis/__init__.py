"""The pages of MLflow and Feast, as servers of this project."""
