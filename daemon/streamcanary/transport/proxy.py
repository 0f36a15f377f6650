"""Chooses the proxy for a URL, for canaries, preflight and receivers.

The rules are those of ``httpx2``:
``HTTP_PROXY``, ``HTTPS_PROXY`` and ``ALL_PROXY`` by the scheme of the endpoint, unless ``NO_PROXY`` names its host.
"""

from contextlib import suppress
from ipaddress import ip_address, ip_network
from urllib.request import getproxies

import httpx2
from msgspec import Struct

from streamcanary.model.config_types.secret import Secret

_DEFAULT_PORTS = {"http": 80, "https": 443}


class InvalidProxyUrl(ValueError):
    """A proxy URL is invalid; the message does not contain the URL, which may have a password."""


class Proxy(Struct, frozen=True, kw_only=True):
    """A proxy, and the ``source`` of its URL: the configuration or an environment variable."""

    scheme: str
    host: str
    port: int
    source: str
    user: str = ""
    password: Secret | None = None

    @property
    def url(self) -> str:
        """Its URL without user name and password."""
        return f"{self.scheme}://{bracket_ipv6(self.host)}:{self.port}"

    @property
    def auth(self) -> tuple[str, str] | None:
        """User name and password in plain text, ``None`` if the URL has neither."""
        return (self.user, self.password.reveal()) if self.password is not None else None


def proxy_for(base_url: str, configured: Secret | None = None, owner: str = "target") -> Proxy | None:
    """Return the proxy for ``base_url``, or ``None`` for a direct connection.

    ``configured`` is the proxy in the configuration of ``owner``, and overrides the environment. A proxy of the
    environment is never used for loopback addresses.

    Raises:
        InvalidProxyUrl: if the proxy is not an ``http://`` or ``https://`` URL.
        SecretUnreadable: if ``configured`` is in a file that cannot be read.
    """
    if configured is not None:
        return parse_proxy(configured.reveal(), f"the {owner}'s proxy")
    url = httpx2.URL(base_url)
    if is_loopback(url.host):
        return None
    environment = getproxies()
    no_proxy = [entry.strip() for entry in environment.get("no", "").split(",")]
    if "*" in no_proxy or any(_matches_no_proxy(entry, url) for entry in no_proxy if entry):
        return None
    for scheme in (url.scheme, "all"):
        if address := environment.get(scheme):
            return parse_proxy(address if "://" in address else f"http://{address}", f"{scheme.upper()}_PROXY")
    return None


def parse_proxy(address: str, source: str) -> Proxy:
    """Return the proxy at the URL ``address``; ``source`` names the setting or variable that has it.

    Raises:
        InvalidProxyUrl: if it is not an ``http://`` or ``https://`` URL.
    """
    try:
        url = httpx2.URL(address)
        port = url.port if url.port is not None else _DEFAULT_PORTS.get(url.scheme, 0)
        usable = url.scheme in _DEFAULT_PORTS and bool(url.host) and 0 < port < 65536
    except (httpx2.InvalidURL, ValueError):
        usable = False
    if not usable:
        raise InvalidProxyUrl(f"{source} must be an http:// or https:// address, such as http://proxy.example:3128")
    password = Secret(url.password) if url.username or url.password else None
    return Proxy(
        scheme=url.scheme,
        host=url.raw_host.decode("ascii"),
        port=port,
        source=source,
        user=url.username,
        password=password,
    )


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is ``localhost`` or a loopback address."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def bracket_ipv6(host: str) -> str:
    """Return ``host`` as it is written before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _matches_no_proxy(entry: str, url: httpx2.URL) -> bool:
    """Return whether an entry of ``NO_PROXY`` matches ``url``.

    ``example.com`` also matches its subdomains; ``.example.com`` and ``*.example.com`` match only these. An address may
    be a network (``10.0.0.0/8``). An entry with a port or a scheme matches only that port or scheme.
    """
    scheme, _, rest = entry.lower().rpartition("://")
    if scheme not in ("", "all", url.scheme):
        return False
    with suppress(ValueError):
        return ip_address(url.host) in ip_network(rest.translate({ord("["): None, ord("]"): None}), strict=False)
    name, _, port = rest.partition(":")
    if port and port != str(url.port or _DEFAULT_PORTS.get(url.scheme)):
        return False
    if name.startswith((".", "*.")):
        return url.host.endswith(name.lstrip("*"))
    if scheme:
        return name in ("", url.host)
    return bool(name) and (name == url.host or url.host.endswith(f".{name}"))
