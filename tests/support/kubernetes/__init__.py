"""Kubernetes: what a cluster checks, and a real API server.

- `schemas.py`: kubeconform, with the JSON Schemas of Kubernetes from a package.
"""
