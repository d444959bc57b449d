"""What every HTTP plane shares: who calls, error bodies, request ids, body limits. Knows no SQL and no model."""
