"""The status of all canaries in memory, for page, API and terminal."""
