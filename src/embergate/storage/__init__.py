"""Rows in SQLite or PostgreSQL: units of work, migrations, and AIP lists as SQL. Knows no HTTP and no resource."""
