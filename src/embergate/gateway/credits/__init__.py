"""Credit: codes that operators give out, their redemptions, and the ledger that says what an account has."""
