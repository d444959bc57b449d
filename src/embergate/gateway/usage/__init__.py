"""Metering: every call counted once, charged once, and told by whom and what for."""
