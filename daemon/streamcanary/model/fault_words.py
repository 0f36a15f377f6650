"""The kinds of faults, and who can fix them, in words, as the page, notifications and the terminal say them."""

from typing import Final

from streamcanary.model.faults import Blame, Fault, FaultKind

FAULT_WORDS: Final[dict[FaultKind, str]] = {
    FaultKind.INVALID_REQUEST: "invalid request",
    FaultKind.CIRCUIT_OPEN: "circuit breaker open",
    FaultKind.DNS_FAILED: "DNS lookup failed",
    FaultKind.CONNECT_FAILED: "connecting failed",
    FaultKind.CONNECT_TIMEOUT: "connect timeout",
    FaultKind.TLS_FAILED: "TLS failed",
    FaultKind.PROXY_FAILED: "proxy failed",
    FaultKind.POOL_EXHAUSTED: "connection pool exhausted",
    FaultKind.CONNECTION_LOST: "connection lost",
    FaultKind.HEADERS_TIMEOUT: "headers timeout",
    FaultKind.SERVER_ERROR: "server error",
    FaultKind.OVERLOADED: "overloaded",
    FaultKind.RATE_LIMITED: "rate limited",
    FaultKind.QUOTA_EXHAUSTED: "quota exhausted",
    FaultKind.AUTH_FAILED: "authentication failed",
    FaultKind.PERMISSION_DENIED: "permission denied",
    FaultKind.NOT_FOUND: "not found",
    FaultKind.BAD_REQUEST: "bad request",
    FaultKind.CONTEXT_LENGTH_EXCEEDED: "context length exceeded",
    FaultKind.CONTENT_POLICY: "refused by content policy",
    FaultKind.NOT_A_STREAM: "not a stream",
    FaultKind.FIRST_TOKEN_TIMEOUT: "first token timeout",
    FaultKind.STALLED: "stalled",
    FaultKind.STREAM_CUT: "stream cut off",
    FaultKind.STREAM_ERROR: "error in the stream",
    FaultKind.STREAM_MALFORMED: "malformed stream",
    FaultKind.ANSWER_TOO_LONG: "answer too long",
    FaultKind.STREAM_TRUNCATED: "stream ended early",
    FaultKind.MALFORMED_TOOL_CALL: "malformed tool call",
    FaultKind.TOKEN_LIMIT_REACHED: "token limit reached",
    FaultKind.EMPTY_ANSWER: "empty answer",
    FaultKind.UNEXPECTED_ANSWER: "unexpected answer",
    FaultKind.TOTAL_TIMEOUT: "total timeout",
    FaultKind.CLIENT_DELAYED: "client delayed",
    FaultKind.CLIENT_EXHAUSTED: "client out of resources",
    FaultKind.CANCELLED: "cancelled",
}
"""The words for each kind of fault; JSON, metrics and spans have the kind itself."""

FIXERS: Final = {
    Blame.CONFIG.value: "your configuration",
    Blame.LOCAL.value: "this machine",
    Blame.NETWORK.value: "the network",
    Blame.PROVIDER.value: "the provider",
    Blame.QUOTA.value: "your quota at the provider",
    Blame.CONTENT.value: "the content of request or answer",
}
"""What people read about who can fix a fault, by its blame."""

_WORDS: Final = {kind.value: words for kind, words in FAULT_WORDS.items()}


def fault_words(kind: str) -> str:
    """Return a kind of fault in words; one that is not in the table, or another reason, with spaces for ``_``."""
    return _WORDS.get(kind) or kind.replace("_", " ")


def describe_fault(fault: Fault) -> str:
    """Return a fault as a line for people: ``server error (HTTP 503): overloaded``."""
    return f"{fault_words(fault.kind)}{str(fault).removeprefix(fault.kind)}"
