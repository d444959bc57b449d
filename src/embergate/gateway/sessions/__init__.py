"""Sessions: log in, refresh, log out; the tokens that prove a session to both planes."""
