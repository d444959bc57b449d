"""Quotas: how much an account may use, and how much it uses."""
