"""Prefect: runs the DVC graph in parallel, with retries, a user interface and deployments."""
