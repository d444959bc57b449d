"""Telling others by HTTP what has happened, for as long as it takes."""
