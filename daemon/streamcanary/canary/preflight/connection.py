"""The steps DNS, TCP and proxy: name resolution, a connection, and the tunnel through the proxy if there is one."""

import asyncio
import errno
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterable
from ipaddress import ip_address

import httpx2
from msgspec.structs import replace

from streamcanary.canary.preflight.context import Connection, DiagnosisContext
from streamcanary.canary.preflight.step_result import StepResult, failed, ok, skipped
from streamcanary.model.faults import FaultKind
from streamcanary.transport.proxy import Proxy, bracket_ipv6

_MAX_ADDRESSES = 8
_GRACE = 0.1  # seconds to wait for the other addresses after the first has connected

_DNS_ERRORS = {
    socket.EAI_NONAME: "the name does not exist",
    socket.EAI_AGAIN: "temporary failure of the name server",
    socket.EAI_FAIL: "the name server failed",
}
_CONNECT_ERRORS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ENETUNREACH: "no route to host",
    errno.EHOSTUNREACH: "no route to host",
    errno.ETIMEDOUT: "timed out",
    errno.ECONNRESET: "connection reset",
    errno.EACCES: "blocked by this machine (firewall or policy)",
    errno.EPERM: "blocked by this machine (firewall or policy)",
}


class ProxyRefused(Exception):
    """The proxy does not open a tunnel; the message has the reason, ``remedy`` what to do."""

    def __init__(self, message: str, remedy: str, status: int | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.status = status


async def resolve_dns(context: DiagnosisContext) -> StepResult:
    """Resolve the host of the endpoint, or of its proxy, which resolves the endpoint itself."""
    host, port = context.next_hop
    role = "proxy host " if context.proxy else ""
    try:
        ip_address(host)
    except ValueError:
        pass
    else:
        context.addresses = (host,)
        return ok(f"{role}{host} is an IP address")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError):
            reason = _DNS_ERRORS.get(error.errno or 0, str(error.strerror))
        else:
            reason = "not a valid host name"
        return failed(FaultKind.DNS_FAILED, f"{role}{host}: {reason}", _dns_remedy(context))
    context.addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    return ok(f"{role}{host} resolves to {_format_addresses(context.addresses)}")


def on_dns_timeout(context: DiagnosisContext) -> StepResult:
    """Return the result for a name server that does not answer in time."""
    message = f"{context.next_hop[0]}: no answer from the name server within {context.timeout:g} s"
    return failed(FaultKind.DNS_FAILED, message, "check the name servers, and that port 53 is open to them")


async def connect(context: DiagnosisContext) -> StepResult:
    """Connect to all addresses at once; keep the first connection."""
    tried = context.addresses[:_MAX_ADDRESSES]
    tasks = [asyncio.create_task(_try_connect(context, address)) for address in tried]
    try:
        waiting = set(tasks)
        while waiting and context.connection is None:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if waiting:
            await asyncio.wait(waiting, timeout=_GRACE)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    description = _describe_connect_results(context)
    if context.connection is None:
        return failed(FaultKind.CONNECT_FAILED, description, _connect_remedy(context))
    return ok(description)


def on_connect_timeout(context: DiagnosisContext) -> StepResult:
    """Return the result for addresses that neither accept nor refuse a connection in time."""
    return failed(
        FaultKind.CONNECT_TIMEOUT,
        f"{_describe_connect_results(context)} within {context.timeout:g} s",
        _connect_remedy(context),
    )


async def open_proxy_tunnel(context: DiagnosisContext) -> StepResult:
    """Open a tunnel to the endpoint through the proxy."""
    if context.proxy is None:
        return skipped("no proxy is used")
    if not context.uses_tls:
        return skipped("http:// requests need no tunnel")
    if context.connection is None:
        raise RuntimeError("no connection to the proxy")
    try:
        await _send_connect_request(context, context.proxy, context.connection)
    except ProxyRefused as refusal:
        return replace(failed(FaultKind.PROXY_FAILED, str(refusal), refusal.remedy), status=refusal.status)
    return ok(f"{context.proxy.url} opens a tunnel to {bracket_ipv6(context.host)}:{context.port}")


def on_proxy_timeout(context: DiagnosisContext) -> StepResult:
    """Return the result for a proxy that does not answer in time."""
    message = f"{context.proxy.url if context.proxy else 'the proxy'} did not answer within {context.timeout:g} s"
    return failed(FaultKind.PROXY_FAILED, message, "check the proxy, or add the host to NO_PROXY")


async def open_connection(context: DiagnosisContext) -> Connection:
    """Return a further connection to the endpoint, before its TLS handshake.

    Raises:
        OSError: if the connection fails.
        ProxyRefused: if the proxy does not open a tunnel.
    """
    if context.connected_address is None:
        raise RuntimeError("no address accepted a connection")
    connection = Connection(*await asyncio.open_connection(context.connected_address, context.next_hop[1]))
    try:
        if context.proxy is not None:
            await _send_connect_request(context, context.proxy, connection)
    except BaseException:
        connection.abort()
        raise
    return connection


async def _try_connect(context: DiagnosisContext, address: str) -> None:
    context.connect_results[address] = "no answer"
    started = context.clock.monotonic()
    try:
        connection = Connection(*await asyncio.open_connection(address, context.next_hop[1]))
    except OSError as error:
        context.connect_results[address] = _CONNECT_ERRORS.get(error.errno or 0) or str(error.strerror)
        return
    context.connect_results[address] = f"connected in {(context.clock.monotonic() - started) * 1000:.0f} ms"
    if context.connection is None:
        context.connection, context.connected_address = connection, address
    else:
        connection.abort()


async def _send_connect_request(context: DiagnosisContext, proxy: Proxy, connection: Connection) -> None:
    """Send CONNECT (RFC 9110, 9.3.6), read the head of the response, and check its status."""
    authority = f"{bracket_ipv6(context.host)}:{context.port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.auth is not None:
        lines.append(f"Proxy-Authorization: Basic {b64encode(':'.join(proxy.auth).encode()).decode()}")
    try:
        if proxy.scheme == "https":
            tls_context = await asyncio.to_thread(httpx2.create_ssl_context)
            await connection.writer.start_tls(tls_context, server_hostname=proxy.host)
        connection.writer.write("\r\n".join([*lines, "", ""]).encode())
        await connection.writer.drain()
        head = await connection.reader.readuntil(b"\r\n\r\n")
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason
        raise ProxyRefused(f"TLS with the proxy failed: {reason}", "check the proxy's URL and certificate") from None
    except (OSError, EOFError):
        raise ProxyRefused("the proxy closed the connection", "check that the proxy's URL is right") from None
    except asyncio.LimitOverrunError:
        raise ProxyRefused("the server is not an HTTP proxy", "check that the proxy's URL is right") from None
    _check_connect_response(head)


def _check_connect_response(head: bytes) -> None:
    version, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    status = int(rest[:3]) if version.startswith("HTTP/1.") and rest[:3].isdigit() else None
    if status is None:
        raise ProxyRefused("the server is not an HTTP proxy", "check that the proxy's URL is right")
    if 200 <= status < 300:
        return
    if status == 407:
        reason, remedy = "requires a user name and password", "add them to the proxy's URL: http://user:password@host"
    elif status in (502, 503, 504):
        reason, remedy = "cannot reach the endpoint", "check that the proxy can resolve and reach the endpoint's host"
    else:
        reason, remedy = "rejects the tunnel", "allow the endpoint's host in the proxy, or add it to NO_PROXY"
    raise ProxyRefused(f"the proxy {reason} (HTTP {status})", remedy, status)


def _describe_connect_results(context: DiagnosisContext) -> str:
    descriptions = [f"{address}: {result}" for address, result in context.connect_results.items()]
    more = len(context.addresses) - len(descriptions)
    port = context.next_hop[1]
    return f"port {port} at {'; '.join(descriptions)}" + (f"; {more} more not tried" if more > 0 else "")


def _format_addresses(addresses: Iterable[str]) -> str:
    listed = list(addresses)
    more = f" and {len(listed) - _MAX_ADDRESSES} more" if len(listed) > _MAX_ADDRESSES else ""
    return ", ".join(listed[:_MAX_ADDRESSES]) + more


def _dns_remedy(context: DiagnosisContext) -> str:
    source = context.proxy.source if context.proxy else "base_url"
    return f"check the host in {source}, and the name servers of this machine"


def _connect_remedy(context: DiagnosisContext) -> str:
    server = "proxy" if context.proxy else "endpoint"
    return f"check that the {server} is running, and that no firewall or network policy blocks this machine"
