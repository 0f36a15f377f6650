"""What is between us and an endpoint, tried step by step before anything is asked of it.

key ─▶ address ─▶ dns ─▶ tcp ─▶ proxy ─▶ tls ─▶ models ─▶ model
credentials.py    └─── route.py ───┘   handshake.py  └─ catalog.py ─┘
"""

from streamcanary.canary.preflight.steps import diagnose

__all__ = ["diagnose"]
