"""What an account pays in place of the list's prices."""
