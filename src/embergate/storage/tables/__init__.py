"""The tables, a module for each area. Importing this package imports them all, so that `Base.metadata` is complete."""
