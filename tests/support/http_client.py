"""A plain HTTP client for servers on loopback."""

import ssl
from typing import Final

import httpx2

NO_CA_CONTEXT: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""A TLS context without certificate authorities, for plain HTTP. Loading the default authorities blocks the event loop
for about 50 ms, which would delay every server that a test runs on it."""


def loopback_client(timeout: float = 10.0) -> httpx2.AsyncClient:
    """Return a client for ``http://`` addresses without a proxy; ``timeout`` is in seconds."""
    return httpx2.AsyncClient(trust_env=False, timeout=timeout, verify=NO_CA_CONTEXT)
