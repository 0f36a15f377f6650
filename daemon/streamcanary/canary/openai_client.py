"""From a target of the configuration to the SDK's client for it."""

import ssl

import httpx2
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from streamcanary.canary.proxy import Proxy, proxy_for
from streamcanary.canary.target import TargetSpec
from streamcanary.canary.trust import open_trust


def open_client(target: TargetSpec) -> AsyncOpenAI:
    """Return a client for ``target``; nothing is sent yet. A key from a file is read again when the file changes.

    Raises:
        SecretUnreadable: if a header comes from a file that cannot be read.
        TrustUnusable: if a file of certificates cannot be used.
        ProxyUnusable: if the environment names a proxy that cannot be used.
    """
    key = target.key

    async def current_key() -> str:
        return key.reveal()

    return AsyncOpenAI(
        base_url=target.base_url,
        api_key=current_key if key.path else key.reveal(),
        default_headers={name: secret.reveal() for name, secret in target.headers.items()},
        http_client=open_http(open_trust(target), proxy_for(target.base_url, target.proxy)),
        max_retries=0,
    )


def open_http(trust: ssl.SSLContext, proxy: Proxy | None) -> httpx2.AsyncClient:
    """Return an HTTP client with the SDK's defaults that trusts ``trust`` and takes the way through ``proxy``."""
    # The environment has been read by those who made the two: httpx2 must not come to another result.
    way = None if proxy is None else httpx2.Proxy(proxy.url, auth=proxy.auth)
    return DefaultAsyncHttpxClient(verify=trust, proxy=way, trust_env=False)
