"""The taxonomy of faults of a streamed call.

    fault
    ├── before the request ···························· phase config
    │   ├── invalid_request      config     a request that cannot be sent: key with a newline, no scheme, bad port
    │   └── circuit_open         local      the circuit breaker of the client is open; nothing was sent
    ├── connecting ···································· phase connect
    │   ├── dns_failed           network    the host name does not resolve, or the resolver does not answer
    │   ├── connect_failed       network    refused, unreachable, reset
    │   ├── connect_timeout      network    no connection within the timeout
    │   ├── tls_failed           config     certificate, protocol
    │   ├── proxy_failed         network    the proxy refuses or closes the connection
    │   └── pool_exhausted       local      the connection pool of the client; never the endpoint's fault
    ├── waiting for headers ··························· phase headers
    │   ├── connection_lost      network    closed, reset or invalid data before the headers
    │   ├── headers_timeout      provider   no headers within the timeout
    │   ├── server_error         provider   408, 409, 423, 424, 425, 499, 5xx, or 1xx without end
    │   ├── overloaded           provider   498, 503, 529
    │   ├── rate_limited         quota      429, temporary
    │   ├── quota_exhausted      quota      402, or 429 that lasts: billing, credit, spend limit, quota of a day
    │   ├── auth_failed          config     401, no key
    │   ├── permission_denied    config     403, 451
    │   ├── not_found            config     404, 410: unknown or retired model, wrong path
    │   ├── bad_request          config     400, 413, 422 and other 4xx
    │   ├── context_length_exceeded config  400, or 500 of some servers: more tokens than the model accepts
    │   ├── content_policy       content    refused by the provider's filter
    │   └── not_a_stream         config     a page, a greeting, nothing: a login page, a wrong address
    ├── reading the stream ···························· phase stream
    │   ├── first_token_timeout  provider   no token within the timeout, even with pings
    │   ├── stalled              provider   no further token within the timeout, even with pings
    │   ├── stream_cut           network    reset, or closed inside a chunk
    │   ├── stream_error         provider   an error in the answer, not otherwise classified
    │   ├── stream_malformed     provider   not JSON, not UTF-8
    │   └── answer_too_long      provider   a longer text, line or event than the limits of the client
    ├── at the end ···································· phase end
    │   ├── stream_truncated     provider   a clean end of file without a terminal state
    │   ├── malformed_tool_call  provider   the arguments of a tool call are not complete JSON
    │   ├── token_limit_reached  config     no usable answer within the token limit of the request; raise that limit
    │   ├── empty_answer         content    no text, refusal or tool call
    │   └── unexpected_answer    content    complete, but not what the canary expects
    └── at any time
        ├── total_timeout        provider   the deadline of the whole call, while an attempt was running
        ├── client_delayed       local      a timeout passed while the process of the client itself was too slow
        ├── client_exhausted     local      no file descriptor, memory or port for another connection
        └── cancelled            local      cancelled by the caller; never counted against the endpoint

``kind`` has few values and is the ``error.type`` of spans and metrics; ``blame`` says who can fix it.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from msgspec import Struct


class Blame(StrEnum):
    """Who can fix a fault."""

    CONFIG = "config"
    LOCAL = "local"
    NETWORK = "network"
    PROVIDER = "provider"
    QUOTA = "quota"
    CONTENT = "content"


class Phase(StrEnum):
    """The phase of an attempt in which it failed."""

    CONFIG = "config"
    CONNECT = "connect"
    HEADERS = "headers"
    STREAM = "stream"
    END = "end"


class FaultKind(StrEnum):
    """The kind of a fault; the tree at the top of this module explains each."""

    INVALID_REQUEST = "invalid_request"
    CIRCUIT_OPEN = "circuit_open"
    DNS_FAILED = "dns_failed"
    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS_FAILED = "tls_failed"
    PROXY_FAILED = "proxy_failed"
    POOL_EXHAUSTED = "pool_exhausted"
    CONNECTION_LOST = "connection_lost"
    HEADERS_TIMEOUT = "headers_timeout"
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    AUTH_FAILED = "auth_failed"
    PERMISSION_DENIED = "permission_denied"
    NOT_FOUND = "not_found"
    BAD_REQUEST = "bad_request"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    CONTENT_POLICY = "content_policy"
    NOT_A_STREAM = "not_a_stream"
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"
    STALLED = "stalled"
    STREAM_CUT = "stream_cut"
    STREAM_ERROR = "stream_error"
    STREAM_MALFORMED = "stream_malformed"
    ANSWER_TOO_LONG = "answer_too_long"
    STREAM_TRUNCATED = "stream_truncated"
    MALFORMED_TOOL_CALL = "malformed_tool_call"
    TOKEN_LIMIT_REACHED = "token_limit_reached"
    EMPTY_ANSWER = "empty_answer"
    UNEXPECTED_ANSWER = "unexpected_answer"
    TOTAL_TIMEOUT = "total_timeout"
    CLIENT_DELAYED = "client_delayed"
    CLIENT_EXHAUSTED = "client_exhausted"
    CANCELLED = "cancelled"


class FaultProperties(NamedTuple):
    """Properties that all faults of a kind share."""

    blame: Blame
    retryable: bool
    phases: tuple[Phase, ...]


K, B = FaultKind, Blame
_BEFORE_REQUEST, _CONNECTING, _READING, _ENDING = (Phase.CONFIG,), (Phase.CONNECT,), (Phase.STREAM,), (Phase.END,)
_WAITING = (Phase.HEADERS,)
_REPORTED_BY_SERVER = (Phase.HEADERS, Phase.STREAM)  # by the status of the response, or in its stream
FAULT_PROPERTIES: Final[dict[FaultKind, FaultProperties]] = {
    K.INVALID_REQUEST: FaultProperties(B.CONFIG, retryable=False, phases=_BEFORE_REQUEST),
    K.CIRCUIT_OPEN: FaultProperties(B.LOCAL, retryable=False, phases=_BEFORE_REQUEST),
    K.DNS_FAILED: FaultProperties(B.NETWORK, retryable=True, phases=_CONNECTING),
    K.CONNECT_FAILED: FaultProperties(B.NETWORK, retryable=True, phases=_CONNECTING),
    K.CONNECT_TIMEOUT: FaultProperties(B.NETWORK, retryable=True, phases=_CONNECTING),
    K.TLS_FAILED: FaultProperties(B.CONFIG, retryable=False, phases=_CONNECTING),
    K.PROXY_FAILED: FaultProperties(B.NETWORK, retryable=True, phases=_CONNECTING),
    K.POOL_EXHAUSTED: FaultProperties(B.LOCAL, retryable=True, phases=_CONNECTING),
    K.CONNECTION_LOST: FaultProperties(B.NETWORK, retryable=True, phases=_WAITING),
    K.HEADERS_TIMEOUT: FaultProperties(B.PROVIDER, retryable=True, phases=_WAITING),
    K.SERVER_ERROR: FaultProperties(B.PROVIDER, retryable=True, phases=_REPORTED_BY_SERVER),
    K.OVERLOADED: FaultProperties(B.PROVIDER, retryable=True, phases=_REPORTED_BY_SERVER),
    K.RATE_LIMITED: FaultProperties(B.QUOTA, retryable=True, phases=_REPORTED_BY_SERVER),
    K.QUOTA_EXHAUSTED: FaultProperties(B.QUOTA, retryable=False, phases=_REPORTED_BY_SERVER),
    K.AUTH_FAILED: FaultProperties(B.CONFIG, retryable=False, phases=(*_BEFORE_REQUEST, *_REPORTED_BY_SERVER)),
    K.PERMISSION_DENIED: FaultProperties(B.CONFIG, retryable=False, phases=_REPORTED_BY_SERVER),
    K.NOT_FOUND: FaultProperties(B.CONFIG, retryable=False, phases=_REPORTED_BY_SERVER),
    K.BAD_REQUEST: FaultProperties(B.CONFIG, retryable=False, phases=_REPORTED_BY_SERVER),
    K.CONTEXT_LENGTH_EXCEEDED: FaultProperties(B.CONFIG, retryable=False, phases=_REPORTED_BY_SERVER),
    K.CONTENT_POLICY: FaultProperties(B.CONTENT, retryable=False, phases=(*_REPORTED_BY_SERVER, *_ENDING)),
    K.NOT_A_STREAM: FaultProperties(B.CONFIG, retryable=False, phases=(*_REPORTED_BY_SERVER, *_ENDING)),
    K.FIRST_TOKEN_TIMEOUT: FaultProperties(B.PROVIDER, retryable=True, phases=_READING),
    K.STALLED: FaultProperties(B.PROVIDER, retryable=True, phases=_READING),
    K.STREAM_CUT: FaultProperties(B.NETWORK, retryable=True, phases=_READING),
    K.STREAM_ERROR: FaultProperties(B.PROVIDER, retryable=True, phases=_REPORTED_BY_SERVER),
    K.STREAM_MALFORMED: FaultProperties(B.PROVIDER, retryable=True, phases=_READING),
    K.ANSWER_TOO_LONG: FaultProperties(B.PROVIDER, retryable=False, phases=(*_READING, *_ENDING)),
    K.STREAM_TRUNCATED: FaultProperties(B.PROVIDER, retryable=True, phases=_ENDING),
    K.MALFORMED_TOOL_CALL: FaultProperties(B.PROVIDER, retryable=True, phases=_ENDING),
    K.TOKEN_LIMIT_REACHED: FaultProperties(B.CONFIG, retryable=False, phases=_ENDING),
    K.EMPTY_ANSWER: FaultProperties(B.CONTENT, retryable=True, phases=_ENDING),
    K.UNEXPECTED_ANSWER: FaultProperties(B.CONTENT, retryable=False, phases=_ENDING),
    K.TOTAL_TIMEOUT: FaultProperties(B.PROVIDER, retryable=False, phases=_REPORTED_BY_SERVER),
    K.CLIENT_DELAYED: FaultProperties(B.LOCAL, retryable=True, phases=(*_CONNECTING, *_REPORTED_BY_SERVER)),
    K.CLIENT_EXHAUSTED: FaultProperties(B.LOCAL, retryable=True, phases=_CONNECTING),
    K.CANCELLED: FaultProperties(B.LOCAL, retryable=False, phases=_REPORTED_BY_SERVER),
}
"""Per kind: who can fix it, whether the same request may be sent again, and the phases in which it can occur."""
CALLER_FAULTS: Final = frozenset({K.CANCELLED, K.CLIENT_DELAYED, K.CLIENT_EXHAUSTED})
"""Kinds that say nothing about the endpoint: no rule counts them, whatever blame it selects."""
del K, B


class Fault(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A fault of one attempt.

    ``message`` is for people: without secrets and control characters, at most 500 characters.
    ``retry_after`` is the wait in seconds that the server requested; ``None`` if it requested none.
    """

    kind: FaultKind
    phase: Phase
    blame: Blame
    retryable: bool
    message: str
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None
    request_id: str | None = None

    def __str__(self) -> str:
        status = f" (HTTP {self.status})" if self.status and self.status >= 300 else ""
        return f"{self.kind}{status}: {self.message}"


def make_fault(
    kind: FaultKind,
    phase: Phase,
    message: str,
    *,
    blame: Blame | None = None,
    retryable: bool | None = None,
    status: int | None = None,
    code: str | None = None,
    retry_after: float | None = None,
    request_id: str | None = None,
) -> Fault:
    """Return a fault of ``kind``; by default with the blame and retryability in :data:`FAULT_PROPERTIES`."""
    defaults = FAULT_PROPERTIES[kind]
    return Fault(
        kind=kind,
        phase=phase,
        blame=blame or defaults.blame,
        retryable=defaults.retryable if retryable is None else retryable,
        message=message,
        status=status,
        code=code,
        retry_after=retry_after,
        request_id=request_id,
    )
