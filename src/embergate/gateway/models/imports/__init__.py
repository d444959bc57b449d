"""Imports: a model's files fetched from where they are already, as a job, instead of uploaded."""
