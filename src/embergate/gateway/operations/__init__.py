"""Long-running operations: what goes on after the call that began it was answered."""
