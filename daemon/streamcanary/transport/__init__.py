"""Outgoing HTTP connections: proxies, trusted authorities and client certificates."""
