"""The operator's commands: accounts, users, keys, credit codes, credit, quotas and the audit trail.

They work on the database, or on a running server by its API. What each imports, it imports when it runs.
"""
