"""``hummingbird curate``: from any source of clips to a training set, without the rest of the pipeline.

It runs the pipeline's own stages one after another, in a folder of its own that looks like a project's. Nothing here
caches: a stage that has nothing to do finds its finished shards and ends.
"""
