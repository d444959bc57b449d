"""Users and service accounts."""
