"""A plain HTTP client for what runs on loopback, cheap to make."""

import ssl
from typing import Final

import httpx2

NO_CA_CONTEXT: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For where TLS is not spoken. To read the authorities that the usual one trusts takes some 50 ms of the event loop:
who asks again and again would hold up all that a test serves on it."""


def loopback_client(timeout: float = 10.0) -> httpx2.AsyncClient:
    """Return a client for ``http://`` addresses, which uses no proxy; it gives up after ``timeout`` seconds."""
    return httpx2.AsyncClient(trust_env=False, timeout=timeout, verify=NO_CA_CONTEXT)
