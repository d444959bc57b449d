"""Durable jobs over SQL: done in chunks by any number of processes, each chunk's effects committed once.

Knows no HTTP, and not what a job is about: that is its kind's handler.
"""
