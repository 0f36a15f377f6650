"""From a target of the configuration to the SDK's client for it."""

import ssl
from collections.abc import Collection, Iterator, Mapping

import httpx2
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from streamcanary.canary.target import TargetSpec
from streamcanary.model.config_types.secret import Secret, SecretUnreadable
from streamcanary.transport.proxy import Proxy, proxy_for
from streamcanary.transport.tls import create_tls_context


class TargetHeaders(Mapping[str, str]):
    """The headers of a target as they are now. The SDK copies them into each request that it makes.

    Looking at one raises ``SecretUnreadable`` if its file cannot be read: then the request is not made.
    """

    def __init__(self, headers: Mapping[str, Secret]) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        return self._headers[name].reveal()

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


class TargetSecrets(Collection[str]):
    """What must be kept out of messages, as it is now; a secret that cannot be read just now is sent to nobody."""

    def __init__(self, headers: Mapping[str, Secret]) -> None:
        self._secrets = tuple(headers.values())

    def __iter__(self) -> Iterator[str]:
        for secret in self._secrets:
            try:
                yield secret.reveal()
            except SecretUnreadable:
                continue

    def __len__(self) -> int:
        return len(self._secrets)

    def __contains__(self, text: object) -> bool:
        return any(text == secret for secret in self)


def open_client(target: TargetSpec) -> AsyncOpenAI:
    """Return a client for ``target``; nothing is sent yet.

    A key or header from a file is read again when the file changes.

    Raises:
        TrustUnusable: if a file of certificates cannot be used.
        ProxyUnusable: if the environment names a proxy that cannot be used.
    """
    key = target.key

    async def current_key() -> str:
        return key.reveal()

    return AsyncOpenAI(
        base_url=target.base_url,
        api_key=current_key if key.path else key.reveal(),
        default_headers=TargetHeaders(target.headers),
        http_client=open_http_client(create_tls_context(target), proxy_for(target.base_url, target.proxy)),
        max_retries=0,
    )


def open_http_client(tls_context: ssl.SSLContext, proxy: Proxy | None) -> httpx2.AsyncClient:
    """Return an HTTP client with the SDK's defaults that trusts ``trust`` and takes the way through ``proxy``."""
    # The environment has been read by those who made the two: httpx2 must not come to another result.
    http_proxy = None if proxy is None else httpx2.Proxy(proxy.url, auth=proxy.auth)
    return DefaultAsyncHttpxClient(verify=tls_context, proxy=http_proxy, trust_env=False)
