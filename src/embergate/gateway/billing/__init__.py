"""What usage costs: summaries and pricing plans."""
