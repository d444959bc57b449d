"""Models of accounts: what may be served, and what is."""
