"""Checks the connection to an endpoint step by step: credentials, network, proxy, TLS and model list.

key ─▶ address ─▶ dns ─▶ tcp ─▶ proxy ─▶ tls ─▶ models ─▶ model
credentials.py    └ connection.py ─┘    tls.py  └ model_list.py ┘
"""

from streamcanary.canary.preflight.steps import diagnose

__all__ = ["diagnose"]
