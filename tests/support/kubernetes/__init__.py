"""Kubernetes: what a cluster checks, and a real API server.

- `cluster.py`: a running API server with kubectl, Helm, namespaces and tokens.
- `servers.py`: the processes, etcd and kube-apiserver.
- `schemas.py`: kubeconform, with the JSON Schemas of Kubernetes from a package.
"""
