"""The servers of a project as local processes: PostgreSQL, an S3 store, MLflow, Prefect, and the runner of its flows.

All of them listen on the loopback address only. What they keep lies in ``.work/services``.
"""
