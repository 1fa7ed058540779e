"""What becomes of a run of the pipeline when something under it dies: ``python -m evaluation.drill``.

A small project of real DVC stages under the pipeline's own runner, on real servers. Nothing here is imported by the
pipeline, and nothing of the pipeline's own record keeping is used to judge it: the servers are asked over HTTP.
"""
