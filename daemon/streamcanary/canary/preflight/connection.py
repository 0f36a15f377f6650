"""The way to the endpoint: its name, a connection, and the proxy if there is one."""

import asyncio
import errno
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterable
from ipaddress import ip_address

import httpx2
from msgspec.structs import replace

from streamcanary.canary.preflight.context import Walk, Wire
from streamcanary.canary.preflight.step_result import Finding, broken, good, skipped
from streamcanary.model.faults import FaultKind
from streamcanary.transport.proxy import Proxy, bracketed

_MOST_ADDRESSES = 8
_GRACE = 0.1  # seconds that the other addresses get once one has answered

_NAMES = {
    socket.EAI_NONAME: "the name does not exist",
    socket.EAI_AGAIN: "the name server gives no answer for now",
    socket.EAI_FAIL: "the name server failed",
}
_CONNECTING = {
    errno.ECONNREFUSED: "refused, nothing listens there",
    errno.ENETUNREACH: "there is no route to it",
    errno.EHOSTUNREACH: "there is no route to it",
    errno.ETIMEDOUT: "no answer",
    errno.ECONNRESET: "reset",
    errno.EACCES: "forbidden by this machine",
    errno.EPERM: "forbidden by this machine",
}


class ProxyRefused(Exception):
    """The proxy does not let us through; the message says why, ``remedy`` what would help."""

    def __init__(self, message: str, remedy: str, status: int | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.status = status


async def look_up(walk: Walk) -> Finding:
    """Find all addresses of the endpoint, or of its proxy, which then looks up the endpoint itself."""
    host, port = walk.next_hop
    whose = "the proxy's " if walk.proxy else ""
    try:
        ip_address(host)
    except ValueError:
        pass
    else:
        walk.addresses = (host,)
        return good(f"{whose}{host} is an address already")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = _NAMES.get(error.errno or 0, str(error.strerror)) if isinstance(error, OSError) else "it is not a name"
        return broken(FaultKind.DNS_FAILED, f"{whose}{host}: {why}", _spelling(walk))
    walk.addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    return good(f"{whose}{host} is {_some(walk.addresses)}")


def late_look_up(walk: Walk) -> Finding:
    """Return that the name server kept silent."""
    says = f"{walk.next_hop[0]}: no answer from the name server within {walk.timeout:g} s"
    return broken(FaultKind.DNS_FAILED, says, "look at the name servers, and whether port 53 is open to them")


async def connect(walk: Walk) -> Finding:
    """Try all addresses at once; the first that takes the connection keeps it."""
    tried = walk.addresses[:_MOST_ADDRESSES]
    tasks = [asyncio.create_task(_knock(walk, address)) for address in tried]
    try:
        waiting = set(tasks)
        while waiting and walk.wire is None:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if waiting:
            await asyncio.wait(waiting, timeout=_GRACE)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    told = _knocks(walk)
    if walk.wire is None:
        return broken(FaultKind.CONNECT_FAILED, told, _firewall(walk))
    return good(told)


def late_connect(walk: Walk) -> Finding:
    """Return that no address answered, not even with a refusal."""
    return broken(FaultKind.CONNECT_TIMEOUT, f"{_knocks(walk)} within {walk.timeout:g} s", _firewall(walk))


async def tunnel(walk: Walk) -> Finding:
    """Ask the proxy for the way to the endpoint."""
    if walk.proxy is None:
        return skipped("there is no proxy on the way")
    if not walk.encrypted:
        return skipped("an http:// request is handed to the proxy as it is")
    if walk.wire is None:
        raise RuntimeError("there is no connection to the proxy")
    try:
        await _pass_through(walk, walk.proxy, walk.wire)
    except ProxyRefused as refusal:
        return replace(broken(FaultKind.PROXY_FAILED, str(refusal), refusal.remedy), status=refusal.status)
    return good(f"{walk.proxy.url} lets us through to {bracketed(walk.host)}:{walk.port}")


def late_tunnel(walk: Walk) -> Finding:
    """Return that the proxy kept silent."""
    says = f"{walk.proxy.url if walk.proxy else 'the proxy'} gave no answer within {walk.timeout:g} s"
    return broken(FaultKind.PROXY_FAILED, says, "look at the proxy, or name the host in NO_PROXY")


async def open_wire(walk: Walk) -> Wire:
    """Return one more connection, as far as TLS with the endpoint.

    Raises:
        OSError: if it cannot be had.
        ProxyRefused: if the proxy does not let us through this time.
    """
    if walk.reached is None:
        raise RuntimeError("no address has been reached")
    wire = Wire(*await asyncio.open_connection(walk.reached, walk.next_hop[1]))
    try:
        if walk.proxy is not None:
            await _pass_through(walk, walk.proxy, wire)
    except BaseException:
        wire.drop()
        raise
    return wire


async def _knock(walk: Walk, address: str) -> None:
    walk.knocks[address] = "no answer"
    begun = walk.clock.monotonic()
    try:
        wire = Wire(*await asyncio.open_connection(address, walk.next_hop[1]))
    except OSError as error:
        walk.knocks[address] = _CONNECTING.get(error.errno or 0) or str(error.strerror)
        return
    walk.knocks[address] = f"connected in {(walk.clock.monotonic() - begun) * 1000:.0f} ms"
    if walk.wire is None:
        walk.wire, walk.reached = wire, address
    else:
        wire.drop()


async def _pass_through(walk: Walk, proxy: Proxy, wire: Wire) -> None:
    """Send CONNECT (RFC 9110, 9.3.6), and read the answer to its end."""
    authority = f"{bracketed(walk.host)}:{walk.port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.auth is not None:
        lines.append(f"Proxy-Authorization: Basic {b64encode(':'.join(proxy.auth).encode()).decode()}")
    try:
        if proxy.scheme == "https":
            trust = await asyncio.to_thread(httpx2.create_ssl_context)
            await wire.writer.start_tls(trust, server_hostname=proxy.host)
        wire.writer.write("\r\n".join([*lines, "", ""]).encode())
        await wire.writer.drain()
        head = await wire.reader.readuntil(b"\r\n\r\n")
    except ssl.SSLError as error:
        why = getattr(error, "verify_message", "") or error.reason
        raise ProxyRefused(f"TLS with the proxy failed: {why}", "look at the proxy's address and certificate") from None
    except (OSError, EOFError):
        raise ProxyRefused("the proxy closed the connection", "see whether there is a proxy at this address") from None
    except asyncio.LimitOverrunError:
        raise ProxyRefused("what answers is no proxy", "see whether there is a proxy at this address") from None
    _judge(head)


def _judge(head: bytes) -> None:
    version, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    status = int(rest[:3]) if version.startswith("HTTP/1.") and rest[:3].isdigit() else None
    if status is None:
        raise ProxyRefused("what answers is no proxy", "see whether there is a proxy at this address")
    if 200 <= status < 300:
        return
    if status == 407:
        why, remedy = "wants a user name and password", "put them into the proxy's address: http://user:password@host"
    elif status in (502, 503, 504):
        why, remedy = "cannot reach the endpoint", "see whether the proxy can look up and reach the endpoint's host"
    else:
        why, remedy = "does not let us through", "have the endpoint's host allowed there, or name it in NO_PROXY"
    raise ProxyRefused(f"the proxy {why} (HTTP {status})", remedy, status)


def _knocks(walk: Walk) -> str:
    told = [f"{address}: {what}" for address, what in walk.knocks.items()]
    more = len(walk.addresses) - len(told)
    port = walk.next_hop[1]
    return f"port {port} at {'; '.join(told)}" + (f"; {more} more not tried" if more > 0 else "")


def _some(addresses: Iterable[str]) -> str:
    shown = list(addresses)
    more = f" and {len(shown) - _MOST_ADDRESSES} more" if len(shown) > _MOST_ADDRESSES else ""
    return ", ".join(shown[:_MOST_ADDRESSES]) + more


def _spelling(walk: Walk) -> str:
    where = walk.proxy.source if walk.proxy else "base_url"
    return f"check the spelling in {where}, and the name servers of this machine"


def _firewall(walk: Walk) -> str:
    whose = "the proxy runs there" if walk.proxy else "the endpoint runs there"
    return f"see whether {whose}, and whether a firewall or network policy lets this machine out to it"
