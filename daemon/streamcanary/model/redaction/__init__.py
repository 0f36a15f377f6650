"""Removal of secrets from untrusted text."""
