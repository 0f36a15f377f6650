"""From a target of the configuration to the SDK's client for it."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from streamcanary.canary.target import TargetSpec


def open_client(target: TargetSpec) -> AsyncOpenAI:
    """Return a client for ``target``; nothing is sent yet. A key from a file is read again when the file changes.

    Proxies of the environment are honoured, but never on the way to this machine itself.

    Raises:
        SecretUnreadable: if a header comes from a file that cannot be read.
    """
    key = target.key

    async def current_key() -> str:
        return key.reveal()

    host = DefaultAsyncHttpxClient(trust_env=False) if _is_loopback(target.base_url) else None
    return AsyncOpenAI(
        base_url=target.base_url,
        api_key=current_key if key.path else key.reveal(),
        default_headers={name: secret.reveal() for name, secret in target.headers.items()},
        http_client=host,
        max_retries=0,
    )


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
