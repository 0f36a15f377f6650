"""Creates the SDK's client for a target of the configuration."""

import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import httpx2
from openai import AsyncAzureOpenAI, AsyncOpenAI, DefaultAsyncHttpxClient

from streamcanary.canary.targets.azure_target import AzureTarget
from streamcanary.canary.targets.target import BaseTarget
from streamcanary.model.config_types.secret import Secret
from streamcanary.transport.connections import ConnectionMode, open_transport
from streamcanary.transport.proxy import Proxy, proxy_for
from streamcanary.transport.tls import tls_context_for


class TargetHeaders(Mapping[str, str]):
    """The current headers of a target, which the SDK copies into each request.

    Reading a header raises ``SecretUnreadable`` if its file cannot be read; the request is not sent then.
    """

    def __init__(self, headers: Mapping[str, Secret]) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        return self._headers[name].reveal()

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


def open_client(target: BaseTarget, connection: ConnectionMode = "new") -> AsyncOpenAI:
    """Return a client for ``target``; this sends no request.

    A key or header from a file is read again when the file changes. ``connection``: whether requests open connections
    of their own.

    Raises:
        TlsFileError: if a certificate or key file cannot be used.
        InvalidProxyUrl: if an environment variable has an invalid proxy URL.
    """
    proxy = proxy_for(target.base_url, target.proxy)
    is_encrypted = "https" in (httpx2.URL(target.base_url).scheme, proxy.scheme if proxy else "")
    options: dict[str, Any] = {
        "default_headers": TargetHeaders(target.headers),
        "http_client": open_http_client(tls_context_for(target, is_encrypted=is_encrypted), proxy, connection),
        "max_retries": 0,
    }
    credential = _credential(target)
    if isinstance(target, AzureTarget) and target.api_version is not None:
        name = "azure_ad_token_provider" if target.access_tokens else "api_key"
        options |= {"azure_endpoint": target.endpoint, "api_version": target.api_version, name: credential}
        return AsyncAzureOpenAI(**options)
    return AsyncOpenAI(base_url=target.base_url, api_key=credential, **options)


def _credential(target: BaseTarget) -> str | Callable[[], Awaitable[str]]:
    """Return the key of ``target``, or a function that returns the current key or access token."""
    if isinstance(target, AzureTarget) and target.access_tokens:
        return target.access_tokens
    key = target.key
    if key is None:
        raise ValueError("a target has a key or an identity")

    async def current_key() -> str:
        return key.reveal()

    return current_key if key.path else key.reveal()


def open_http_client(
    tls_context: ssl.SSLContext, proxy: Proxy | None, connection: ConnectionMode = "new"
) -> httpx2.AsyncClient:
    """Return an HTTP client with ``tls_context``, and ``proxy`` or a direct connection.

    It follows no redirect, and asks for responses without compression; ``headers`` of a target can ask for another one.
    """
    return DefaultAsyncHttpxClient(
        transport=open_transport(tls_context, proxy, connection),
        trust_env=False,  # the transport reflects the environment; it must not be read again with a different result
        follow_redirects=False,
        headers={"Accept-Encoding": "identity"},
    )
