"""The schema's history, one file a change, forward only: the way back is a backup."""
