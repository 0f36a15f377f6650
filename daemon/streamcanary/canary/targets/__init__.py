"""Targets: the types of endpoints that canaries call, and the clients and credentials for them."""
