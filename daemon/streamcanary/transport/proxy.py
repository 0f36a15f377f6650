"""Which proxy stands between this machine and an endpoint.

The choice is made here once, for canaries, their preflight and receivers alike. The rules are those of ``httpx2``:
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
    """A proxy is named in a way that cannot be used; the message does not show its address, which may hold a secret."""


class Proxy(Struct, frozen=True, kw_only=True):
    """A proxy and who named it: the configuration, or a variable of the environment."""

    scheme: str
    host: str
    port: int
    source: str
    user: str = ""
    password: Secret | None = None

    @property
    def url(self) -> str:
        """Its address without user name and password."""
        return f"{self.scheme}://{bracket_ipv6(self.host)}:{self.port}"

    @property
    def auth(self) -> tuple[str, str] | None:
        """User name and password in the clear, if it wants any."""
        return (self.user, self.password.reveal()) if self.password is not None else None


def proxy_for(base_url: str, configured: Secret | None = None, owner: str = "target") -> Proxy | None:
    """Return the proxy on the way to ``base_url``, or ``None`` if the way is direct.

    ``own`` is the one that the configuration names for this ``whose``, and goes before the environment. The
    environment's is never used on the way to this machine itself.

    Raises:
        ProxyUnusable: if what is named is no ``http://`` or ``https://`` proxy.
        SecretUnreadable: if ``own`` is in a file that cannot be read.
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
    """Return the proxy at ``address``; ``source`` says who named it.

    Raises:
        ProxyUnusable: if it is no ``http://`` or ``https://`` address.
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
    """Tell whether ``host``, a name or an address, is this machine."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def bracket_ipv6(host: str) -> str:
    """Return ``host`` as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _matches_no_proxy(entry: str, url: httpx2.URL) -> bool:
    """Tell whether an entry of ``NO_PROXY`` names the host of ``url``.

    ``example.com`` names its subdomains too, ``.example.com`` and ``*.example.com`` these alone; an address may be a
    network (``10.0.0.0/8``); with a port or a scheme, that alone.
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
