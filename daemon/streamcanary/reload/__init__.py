"""Reloads the configuration of a running daemon: when its file changes, on SIGHUP, and through the API."""
