"""Text in, vectors out: loading, tokenising, scheduling, the forward pass, pooling. Knows no HTTP, no SQL, no account."""
