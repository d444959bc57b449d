"""Batch jobs: the requests of a dataset, each answered once, whatever happens to the servers that do it."""
