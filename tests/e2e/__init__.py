"""Real server processes, real clients."""
