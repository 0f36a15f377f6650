"""Assembles the daemon from the other packages."""
