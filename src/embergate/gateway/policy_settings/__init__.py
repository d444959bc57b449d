"""Which models an account may use."""
