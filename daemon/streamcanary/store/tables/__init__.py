"""The SQL of the tables, in the common subset of SQLite and PostgreSQL."""
