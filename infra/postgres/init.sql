-- The image makes the database POSTGRES_DB (prefect); MLflow needs one of its own.
CREATE DATABASE mlflow;
