"""Datasets of an account: rows that jobs read and write."""
