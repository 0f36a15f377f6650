"""Maps exceptions of the SDK and its transport to faults.

Exceptions are recognized by class name along their whole chain, because the transport can be ``httpx2`` or the older
``httpx``, and because the SDK wraps some errors and lets others pass.
"""

import errno
import socket
import ssl
from collections.abc import Iterator
from typing import Any

from streamcanary.client.core.fault_classification.server_errors import fault_from_status
from streamcanary.client.core.invalid_request import describe_invalid_part
from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault
from streamcanary.model.redaction.redactor import Secrets, scrub

_MAX_CHAIN_LENGTH = 32  # exceptions; a chain can contain cycles


def fault_from_exception(error: BaseException, phase: Phase, *, now: float, secrets: Secrets = ()) -> Fault | None:
    """Return the fault of an exception; ``None`` if it is no network error but a programming error."""
    links = tuple(_exception_chain(error))
    for link in links:
        if (fault := _fault_from_response(link, now, secrets)) is not None:
            return fault
    for link in links:
        kind = _classify_exception(link, phase, links)
        if kind is not None:
            is_before_request = kind is FaultKind.INVALID_REQUEST or isinstance(link, TypeError)
            fault_phase = Phase.CONFIG if is_before_request else _phase_for(kind, phase)
            return make_fault(kind, fault_phase, _describe(kind, links, secrets))
    if any(base.__name__ in _TRANSPORT_ERRORS for link in links for base in type(link).__mro__):
        kind = FaultKind.STREAM_CUT if phase is Phase.STREAM else FaultKind.CONNECTION_LOST
        return make_fault(kind, phase, _describe(kind, links, secrets))
    return None


def _fault_from_response(error: BaseException, now: float, secrets: Secrets) -> Fault | None:
    """Return the fault of the HTTP error response that an exception carries, if any.

    The caller checks the whole chain: when the body of an error response cannot be read, the SDK raises the read error,
    and only its ``__context__`` has the status.
    """
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if response is None or not isinstance(status, int) or status < 300:
        return None
    return fault_from_status(status, response.headers, _body_of(error, response), now=now, secrets=secrets)


def _body_of(error: BaseException, response: Any) -> object:
    """Return the body of an error response, if it was read.

    As text, because the SDK keeps only the member ``error`` of a JSON object, and nothing if that is null.
    """
    try:
        text = response.text
    except (AttributeError, RuntimeError):  # not read (ResponseNotRead), because it stalled or was cut
        text = None
    return text if isinstance(text, str) and text else getattr(error, "body", None)


_BY_EXCEPTION_NAME: dict[str, FaultKind] = {
    "ConnectTimeout": FaultKind.CONNECT_TIMEOUT,
    "PoolTimeout": FaultKind.POOL_EXHAUSTED,
    "ProxyError": FaultKind.PROXY_FAILED,
    "UnsupportedProtocol": FaultKind.INVALID_REQUEST,
    "InvalidURL": FaultKind.INVALID_REQUEST,
    "LocalProtocolError": FaultKind.INVALID_REQUEST,
    "UnicodeEncodeError": FaultKind.INVALID_REQUEST,
    "UnicodeError": FaultKind.DNS_FAILED,  # the host name cannot be encoded: a label over 63 characters
    "DecodingError": FaultKind.STREAM_MALFORMED,
    "DecodedBodyTooLong": FaultKind.ANSWER_TOO_LONG,
}
_CONNECTION_LOST_ERRORS = frozenset(
    {"RemoteProtocolError", "ReadError", "WriteError", "CloseError", "NetworkError", "EndOfStream", "SSLError"}
)
_TRANSPORT_ERRORS = frozenset({"RequestError", "APIError"})  # any other error of the transport or the SDK
_TRANSPORT_PACKAGES = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "h11", "h2", "anyio"})
_CREDENTIAL_ERRORS = frozenset(
    {
        "OpenAIError",
        "OAuthError",
        "SubjectTokenProviderError",
        "SecretUnreadable",
        "TokenRefused",  # of a canary
        "ClientAuthenticationError",  # of azure.identity, as is the next one
        "CredentialUnavailableError",
    }
)
_NO_KEY_MESSAGE = "Could not resolve authentication method"  # of the SDK, when the key provider returns nothing


def _classify_exception(error: BaseException, phase: Phase, links: tuple[BaseException, ...]) -> FaultKind | None:
    name = type(error).__name__
    if name in _BY_EXCEPTION_NAME:
        return _BY_EXCEPTION_NAME[name]
    if name == "ConnectError":
        return _classify_connect_error(links)
    if name in ("ReadTimeout", "WriteTimeout", "TimeoutException"):
        return FaultKind.STALLED if phase is Phase.STREAM else FaultKind.HEADERS_TIMEOUT
    if name in _CONNECTION_LOST_ERRORS:
        return FaultKind.STREAM_CUT if phase is Phase.STREAM else FaultKind.CONNECTION_LOST
    if name in _CREDENTIAL_ERRORS:
        return FaultKind.AUTH_FAILED
    if isinstance(error, OverflowError):  # a port outside of 0 to 65535
        return FaultKind.INVALID_REQUEST
    if isinstance(error, TypeError) and str(error).startswith(_NO_KEY_MESSAGE):
        return FaultKind.AUTH_FAILED
    if isinstance(error, OSError):
        return FaultKind.STREAM_CUT if phase is Phase.STREAM else _classify_connect_error(links)
    return None


_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def _classify_connect_error(links: tuple[BaseException, ...]) -> FaultKind:
    numbers = {link.errno for link in links if isinstance(link, OSError) and not isinstance(link, socket.gaierror)}
    numbers.discard(None)
    # Without ports left, every address of the host fails so; a machine without IPv6 fails so for one of them.
    if numbers & _EXHAUSTED or numbers == {errno.EADDRNOTAVAIL}:
        return FaultKind.CLIENT_EXHAUSTED
    if any(isinstance(link, ssl.SSLError) for link in links):
        return FaultKind.TLS_FAILED
    if any(isinstance(link, socket.gaierror) for link in links):
        return FaultKind.DNS_FAILED
    return FaultKind.CONNECT_FAILED


def _phase_for(kind: FaultKind, phase: Phase) -> Phase:
    connecting = {
        FaultKind.CONNECT_TIMEOUT,
        FaultKind.CONNECT_FAILED,
        FaultKind.DNS_FAILED,
        FaultKind.TLS_FAILED,
        FaultKind.PROXY_FAILED,
        FaultKind.POOL_EXHAUSTED,
        FaultKind.CLIENT_EXHAUSTED,
    }
    return Phase.CONNECT if kind in connecting else phase


_DESCRIPTIONS: dict[FaultKind, str] = {
    FaultKind.DNS_FAILED: "the host name cannot be resolved",
    FaultKind.CONNECT_TIMEOUT: "no connection within the connect timeout",
    FaultKind.POOL_EXHAUSTED: "no free connection in the client's connection pool within the connect timeout",
    FaultKind.CLIENT_EXHAUSTED: "this process or its machine has no resources for another connection",
    FaultKind.HEADERS_TIMEOUT: "no response within the timeout of the transport",
    FaultKind.CONNECTION_LOST: "the connection was lost before the answer began",
    FaultKind.STREAM_CUT: "the connection was lost in the middle of the answer",
    FaultKind.INVALID_REQUEST: "the request cannot be sent as configured",
}


def _describe(kind: FaultKind, links: tuple[BaseException, ...], secrets: Secrets) -> str:
    """Return the message of a fault: a description of ``kind``, and the most specific error text."""
    description = _DESCRIPTIONS.get(kind, "")
    if kind is FaultKind.INVALID_REQUEST:
        return scrub(f"{description}: {describe_invalid_part(links)}", secrets)
    # A credential error has its reason in the outermost exception, a network error in the innermost one; exceptions of
    # other modules in the chain are internals of the libraries.
    relevant = links if kind is FaultKind.AUTH_FAILED else [link for link in reversed(links) if _is_network_error(link)]
    deepest = next((str(link) for link in relevant if str(link)), "")
    return scrub(
        f"{description}: {deepest}" if description and deepest else description or deepest or str(kind), secrets
    )


def _is_network_error(error: BaseException) -> bool:
    modules = (base.__module__.partition(".")[0] for base in type(error).__mro__)
    return isinstance(error, OSError) or any(module in _TRANSPORT_PACKAGES for module in modules)


def _exception_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, its causes and contexts, and the members of groups; outermost first, each once."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting and len(seen) < _MAX_CHAIN_LENGTH:
        link = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        if isinstance(link, BaseExceptionGroup):
            waiting.extend(link.exceptions)
        waiting.extend(further for further in (link.__cause__, link.__context__) if further is not None)
