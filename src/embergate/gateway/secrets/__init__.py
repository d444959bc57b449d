"""Secrets that an account has the server keep."""
