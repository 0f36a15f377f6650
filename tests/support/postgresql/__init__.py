"""A PostgreSQL for tests: a throwaway server, and its fixtures."""
