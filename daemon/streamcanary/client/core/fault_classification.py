"""Maps exceptions of the SDK, HTTP statuses and error bodies of providers to faults.

Exceptions are recognized by class name along their whole chain, because the transport can be ``httpx2`` or the older
``httpx``, and because the SDK wraps some errors and lets others pass.
"""

import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from streamcanary.client.core.backoff import parse_retry_after
from streamcanary.client.core.invalid_request import describe_invalid_part
from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault
from streamcanary.model.redaction.redactor import scrub

_QUOTA_SUFFIXES = ("_spend_limit_exceeded", "_usage_limit_exceeded")
_BY_CODE: dict[str, FaultKind] = {
    "insufficient_quota": FaultKind.QUOTA_EXHAUSTED,
    "billing_hard_limit_reached": FaultKind.QUOTA_EXHAUSTED,
    "billing_not_active": FaultKind.QUOTA_EXHAUSTED,
    "credit_balance_exhausted": FaultKind.QUOTA_EXHAUSTED,
    "rate_limit_exceeded": FaultKind.RATE_LIMITED,
    "rate_limit_error": FaultKind.RATE_LIMITED,
    "too_many_requests": FaultKind.RATE_LIMITED,
    "overloaded": FaultKind.OVERLOADED,
    "overloaded_error": FaultKind.OVERLOADED,
    "service_unavailable": FaultKind.OVERLOADED,
    "server_error": FaultKind.SERVER_ERROR,
    "internal_error": FaultKind.SERVER_ERROR,
    "internal_server_error": FaultKind.SERVER_ERROR,
    "api_error": FaultKind.SERVER_ERROR,
    "invalid_api_key": FaultKind.AUTH_FAILED,
    "authentication_error": FaultKind.AUTH_FAILED,
    "permission_error": FaultKind.PERMISSION_DENIED,
    "permission_denied": FaultKind.PERMISSION_DENIED,
    "model_not_found": FaultKind.NOT_FOUND,
    "not_found_error": FaultKind.NOT_FOUND,
    "deploymentnotfound": FaultKind.NOT_FOUND,
    "context_length_exceeded": FaultKind.CONTEXT_LENGTH_EXCEEDED,
    "string_above_max_length": FaultKind.CONTEXT_LENGTH_EXCEEDED,
    "content_filter": FaultKind.CONTENT_POLICY,
    "content_policy_violation": FaultKind.CONTENT_POLICY,
    "moderation_blocked": FaultKind.CONTENT_POLICY,
    "responsibleaipolicyviolation": FaultKind.CONTENT_POLICY,
    "invalid_request_error": FaultKind.BAD_REQUEST,
    "invalid_value": FaultKind.BAD_REQUEST,
}
_BY_STATUS: dict[int, FaultKind] = {
    401: FaultKind.AUTH_FAILED,
    403: FaultKind.PERMISSION_DENIED,
    404: FaultKind.NOT_FOUND,
    408: FaultKind.SERVER_ERROR,
    409: FaultKind.SERVER_ERROR,
    429: FaultKind.RATE_LIMITED,
    503: FaultKind.OVERLOADED,
    529: FaultKind.OVERLOADED,
}
# The status decides the kind; the code in the body refines it only where the status is ambiguous.
_REFINEMENTS: dict[FaultKind, frozenset[FaultKind]] = {
    FaultKind.RATE_LIMITED: frozenset({FaultKind.QUOTA_EXHAUSTED}),
    FaultKind.BAD_REQUEST: frozenset(
        {FaultKind.CONTEXT_LENGTH_EXCEEDED, FaultKind.CONTENT_POLICY, FaultKind.NOT_FOUND, FaultKind.AUTH_FAILED}
    ),
    FaultKind.PERMISSION_DENIED: frozenset({FaultKind.QUOTA_EXHAUSTED, FaultKind.CONTENT_POLICY}),
    FaultKind.SERVER_ERROR: frozenset({FaultKind.OVERLOADED}),
}
_MAX_PARAM_LENGTH = 128  # characters of a parameter name
_MAX_CHAIN_LENGTH = 32  # exceptions; a chain can contain cycles


def classify_error_code(*codes: object) -> FaultKind | None:
    """Return the kind of the first known one of a provider's error ``codes`` (``code``, then ``type``), or ``None``."""
    for code in codes:
        if isinstance(code, int) or (isinstance(code, str) and code.isdigit()):
            if 400 <= int(code) <= 599:
                return classify_status(int(code))
        elif isinstance(code, str):
            folded = code.lower()
            if folded.endswith(_QUOTA_SUFFIXES):
                return FaultKind.QUOTA_EXHAUSTED
            if kind := _BY_CODE.get(folded):
                return kind
    return None


def classify_status(status: int) -> FaultKind:
    """Return the kind of an HTTP ``status`` of 300 or more when nothing else is known."""
    if kind := _BY_STATUS.get(status):
        return kind
    if status >= 500:
        return FaultKind.SERVER_ERROR
    return FaultKind.BAD_REQUEST if status >= 400 else FaultKind.NOT_A_STREAM


def fault_from_status(
    status: int, headers: Mapping[str, str], body: object, *, now: float, secrets: tuple[str, ...] = ()
) -> Fault:
    """Return the fault of an HTTP error. ``body`` is the decoded error object, text, or ``None``."""
    code, error_type, text = _parse_error(body, secrets)
    kind = classify_status(status)
    if (refined := classify_error_code(code, error_type)) in _REFINEMENTS.get(
        kind, frozenset()
    ) and refined is not None:
        kind = refined
    should_retry = {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())
    return make_fault(
        kind,
        Phase.HEADERS,
        scrub(text, secrets) or f"the server answered with status {status}",
        # an exhausted quota stays exhausted, whatever x-should-retry says
        retryable=None if kind is FaultKind.QUOTA_EXHAUSTED else should_retry,
        status=status,
        code=_scrub_short(code if code is not None else error_type, secrets),
        retry_after=parse_retry_after(headers, now),
        request_id=_scrub_short(headers.get("x-request-id"), secrets),
    )


def fault_from_error_body(error: object, phase: Phase, *, secrets: tuple[str, ...] = ()) -> Fault:
    """Return the fault of an error object in a stream, or in a JSON body with status 200."""
    code, error_type, text = _parse_error(error, secrets)
    kind = classify_error_code(code, error_type) or FaultKind.STREAM_ERROR
    return make_fault(
        kind,
        phase,
        scrub(text, secrets) or "the stream contains an error without a message",
        code=_scrub_short(code if code is not None else error_type, secrets),
    )


def fault_from_exception(
    error: BaseException, phase: Phase, *, now: float, secrets: tuple[str, ...] = ()
) -> Fault | None:
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


def _fault_from_response(error: BaseException, now: float, secrets: tuple[str, ...]) -> Fault | None:
    """Return the fault of the HTTP error response that an exception carries, if any.

    The caller checks the whole chain: when the body of an error response cannot be read, the SDK raises the read error,
    and only its ``__context__`` has the status.
    """
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if response is None or not isinstance(status, int) or status < 300:
        return None
    return fault_from_status(status, response.headers, getattr(error, "body", None), now=now, secrets=secrets)


_BY_EXCEPTION_NAME: dict[str, FaultKind] = {
    "ConnectTimeout": FaultKind.CONNECT_TIMEOUT,
    "PoolTimeout": FaultKind.POOL_EXHAUSTED,
    "ProxyError": FaultKind.PROXY_FAILED,
    "UnsupportedProtocol": FaultKind.INVALID_REQUEST,
    "InvalidURL": FaultKind.INVALID_REQUEST,
    "LocalProtocolError": FaultKind.INVALID_REQUEST,
    "UnicodeEncodeError": FaultKind.INVALID_REQUEST,
    "UnicodeError": FaultKind.DNS_FAILED,  # the host name cannot be encoded: a label over 63 characters
    "TooManyRedirects": FaultKind.NOT_A_STREAM,
    "DecodingError": FaultKind.STREAM_MALFORMED,
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


def _classify_connect_error(links: tuple[BaseException, ...]) -> FaultKind:
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
    }
    return Phase.CONNECT if kind in connecting else phase


_DESCRIPTIONS: dict[FaultKind, str] = {
    FaultKind.DNS_FAILED: "the host name cannot be resolved",
    FaultKind.CONNECT_TIMEOUT: "no connection within the connect timeout",
    FaultKind.POOL_EXHAUSTED: "no free connection in the client's connection pool within the connect timeout",
    FaultKind.HEADERS_TIMEOUT: "no response within the timeout of the transport",
    FaultKind.CONNECTION_LOST: "the connection was lost before the answer began",
    FaultKind.STREAM_CUT: "the connection was lost in the middle of the answer",
    FaultKind.INVALID_REQUEST: "the request cannot be sent as configured",
}


def _describe(kind: FaultKind, links: tuple[BaseException, ...], secrets: tuple[str, ...]) -> str:
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
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _TRANSPORT_PACKAGES


def _parse_error(error: object, secrets: tuple[str, ...]) -> tuple[Any, Any, str]:
    """Return code, type and message of an error object; the message names the rejected ``param``, if any."""
    if isinstance(error, Mapping):
        inner = error.get("error")
        if isinstance(inner, (Mapping, str)) and inner:
            return _parse_error(inner, secrets)
        message, param = error.get("message"), error.get("param")
        text = message if isinstance(message, str) else ""
        if isinstance(param, str) and (part := scrub(param, secrets, _MAX_PARAM_LENGTH)) and part not in text:
            text = f"{part}: {text}" if text else f"the server does not accept {part}"
        return error.get("code"), error.get("type"), text
    return None, None, error if isinstance(error, str) else ""


def _scrub_short(value: object, secrets: tuple[str, ...]) -> str | None:
    return None if value is None else scrub(str(value), secrets, 128)


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
