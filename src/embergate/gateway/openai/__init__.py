"""OpenAI's files and batches: another face of the account's datasets and batch jobs, which keeps nothing of its own."""
