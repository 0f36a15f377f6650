"""The fault table: the fault or answer of each behaviour of the simulator."""

from typing import Final, NamedTuple

from streamcanary.client.timeouts import Timeouts
from streamcanary.model.faults import Blame, FaultKind, Phase
from streamcanary.simulator import ConnectionLifetime

ANSWER_TEXT = "Pong! The canary sings."
K, B, P = FaultKind, Blame, Phase


class ReceivedCounts(NamedTuple):
    """How much of an answer arrives: Chat Completions chunks, Responses events, and whether they include a token.

    ``text``: the tokens include text; else they are reasoning or tool calls.
    """

    chat: int
    responses: int
    token: bool = True
    text: bool = True

    @property
    def has_text(self) -> bool:
        """Whether text arrives."""
        return self.token and self.text

    def for_api(self, api: str) -> int:
        """Return the count for ``api``."""
        return self.chat if api == "chat" else self.responses


NOTHING_RECEIVED = ReceivedCounts(0, 0, token=False)
NO_DELTAS = ReceivedCounts(1, 4, token=False)
"""The role; the response, item and part that are opened."""
EMPTY_ANSWER = ReceivedCounts(2, 3, token=False)
"""A complete answer without content."""
THREE_DELTAS = ReceivedCounts(1 + 3, 4 + 3)
"""Three of seven deltas."""
THREE_DELTAS_THEN_FAILURE = ReceivedCounts(1 + 3, 4 + 3 + 1)
"""Three of seven deltas; in Responses the failure is one more event."""
THREE_DELTAS_AND_END = ReceivedCounts(1 + 3 + 1, 4 + 3 + 4)
"""Three deltas and a terminal event."""
WITHOUT_TERMINAL_EVENT = ReceivedCounts(1 + 7 + 1, 4 + 7 + 3)
"""Everything but the terminal event, which in Chat Completions is a chunk without its ``finish_reason``."""
COMPLETE = ReceivedCounts(1 + 7 + 1, 4 + 7 + 4)
NON_STREAMING = ReceivedCounts(1, 1)


class FaultRow(NamedTuple):
    """The fault that each attempt ends with, and whether the request is retried.

    ``retry_after`` is in seconds, with the timings of :data:`support.client.fault_matrix.TIMINGS`.
    """

    kind: FaultKind
    phase: Phase
    blame: Blame
    is_retried: bool
    status: int | None = None
    code: str | None = None
    received: ReceivedCounts = NOTHING_RECEIVED
    retry_after: float | None = None


EXPECTED_FAULTS: Final[dict[str, FaultRow]] = {
    "reset": FaultRow(K.CONNECTION_LOST, P.HEADERS, B.NETWORK, True),
    "close": FaultRow(K.CONNECTION_LOST, P.HEADERS, B.NETWORK, True),
    "garbage": FaultRow(K.CONNECTION_LOST, P.HEADERS, B.NETWORK, True),
    "no-headers": FaultRow(K.HEADERS_TIMEOUT, P.HEADERS, B.PROVIDER, True),
    "400": FaultRow(K.BAD_REQUEST, P.HEADERS, B.CONFIG, False, 400, "unsupported_parameter"),
    "401": FaultRow(K.AUTH_FAILED, P.HEADERS, B.CONFIG, False, 401, "invalid_api_key"),
    "403": FaultRow(K.PERMISSION_DENIED, P.HEADERS, B.CONFIG, False, 403, "unsupported_country_region_territory"),
    "404": FaultRow(K.NOT_FOUND, P.HEADERS, B.CONFIG, False, 404, "model_not_found"),
    "408": FaultRow(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 408, "server_error"),
    "409": FaultRow(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 409, "server_error"),
    "413": FaultRow(K.BAD_REQUEST, P.HEADERS, B.CONFIG, False, 413),
    "422": FaultRow(K.BAD_REQUEST, P.HEADERS, B.CONFIG, False, 422, "invalid_request_error"),
    "429": FaultRow(K.RATE_LIMITED, P.HEADERS, B.QUOTA, True, 429, "rate_limit_exceeded"),
    "429-retry-after": FaultRow(K.RATE_LIMITED, P.HEADERS, B.QUOTA, True, 429, "rate_limit_exceeded", retry_after=1.0),
    "429-retry-after-date": FaultRow(
        K.RATE_LIMITED, P.HEADERS, B.QUOTA, True, 429, "rate_limit_exceeded", retry_after=1.0
    ),
    "429-retry-after-ms": FaultRow(
        K.RATE_LIMITED, P.HEADERS, B.QUOTA, True, 429, "rate_limit_exceeded", retry_after=0.2
    ),
    "quota": FaultRow(K.QUOTA_EXHAUSTED, P.HEADERS, B.QUOTA, False, 429, "insufficient_quota"),
    "500": FaultRow(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 500, "server_error"),
    "502": FaultRow(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 502),
    "503": FaultRow(K.OVERLOADED, P.HEADERS, B.PROVIDER, True, 503, "server_error"),
    "504": FaultRow(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 504),
    "529": FaultRow(K.OVERLOADED, P.HEADERS, B.PROVIDER, True, 529, "overloaded_error"),
    "5xx-stalled-body": FaultRow(K.OVERLOADED, P.HEADERS, B.PROVIDER, True, 503, retry_after=1.0),
    "5xx-cut-body": FaultRow(K.OVERLOADED, P.HEADERS, B.PROVIDER, True, 503, retry_after=1.0),
    "context-length": FaultRow(K.CONTEXT_LENGTH_EXCEEDED, P.HEADERS, B.CONFIG, False, 400, "context_length_exceeded"),
    "content-policy": FaultRow(K.CONTENT_POLICY, P.HEADERS, B.CONTENT, False, 400, "content_policy_violation"),
    "redirect": FaultRow(K.NOT_A_STREAM, P.HEADERS, B.CONFIG, False, 302),
    "html-200": FaultRow(K.NOT_A_STREAM, P.STREAM, B.CONFIG, False, 200),
    "204": FaultRow(K.NOT_A_STREAM, P.STREAM, B.CONFIG, False, 204),
    "empty-body": FaultRow(K.NOT_A_STREAM, P.STREAM, B.CONFIG, False, 200),
    "empty-stream": FaultRow(K.STREAM_TRUNCATED, P.END, B.PROVIDER, True, 200),
    "json-error-200": FaultRow(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 200, "server_error"),
    "slow-first-token": FaultRow(K.FIRST_TOKEN_TIMEOUT, P.STREAM, B.PROVIDER, True, 200, received=NO_DELTAS),
    "pings": FaultRow(K.FIRST_TOKEN_TIMEOUT, P.STREAM, B.PROVIDER, True, 200),
    "empty-deltas": FaultRow(K.FIRST_TOKEN_TIMEOUT, P.STREAM, B.PROVIDER, True, 200, received=NO_DELTAS),
    "stall": FaultRow(K.STALLED, P.STREAM, B.PROVIDER, True, 200, received=THREE_DELTAS),
    "keepalive-stall": FaultRow(K.STALLED, P.STREAM, B.PROVIDER, True, 200, received=THREE_DELTAS),
    "cut": FaultRow(K.STREAM_CUT, P.STREAM, B.NETWORK, True, 200, received=THREE_DELTAS),
    "reset-stream": FaultRow(K.STREAM_CUT, P.STREAM, B.NETWORK, True, 200, received=THREE_DELTAS),
    "truncated": FaultRow(K.STREAM_TRUNCATED, P.END, B.PROVIDER, True, 200, received=THREE_DELTAS),
    "null-finish": FaultRow(K.STREAM_TRUNCATED, P.END, B.PROVIDER, True, 200, received=WITHOUT_TERMINAL_EVENT),
    "malformed": FaultRow(K.STREAM_MALFORMED, P.STREAM, B.PROVIDER, True, 200, received=THREE_DELTAS),
    "bad-utf8": FaultRow(K.STREAM_MALFORMED, P.STREAM, B.PROVIDER, True, 200, received=NO_DELTAS),
    "inband-error": FaultRow(K.SERVER_ERROR, P.STREAM, B.PROVIDER, True, 200, "server_error", THREE_DELTAS),
    "error-field": FaultRow(K.SERVER_ERROR, P.STREAM, B.PROVIDER, True, 200, "server_error", THREE_DELTAS),
    "event-error": FaultRow(K.SERVER_ERROR, P.STREAM, B.PROVIDER, True, 200, "server_error", THREE_DELTAS),
    "flat-error": FaultRow(K.SERVER_ERROR, P.STREAM, B.PROVIDER, True, 200, "server_error", THREE_DELTAS),
    "nested-error": FaultRow(K.SERVER_ERROR, P.STREAM, B.PROVIDER, True, 200, "server_error", THREE_DELTAS),
    "failed": FaultRow(K.SERVER_ERROR, P.STREAM, B.PROVIDER, True, 200, "server_error", THREE_DELTAS_THEN_FAILURE),
    "failed-rate-limit": FaultRow(
        K.RATE_LIMITED, P.STREAM, B.QUOTA, True, 200, "rate_limit_exceeded", THREE_DELTAS_THEN_FAILURE
    ),
    "empty": FaultRow(K.EMPTY_ANSWER, P.END, B.CONTENT, True, 200, received=EMPTY_ANSWER),
    "incomplete-empty": FaultRow(K.TOKEN_LIMIT_REACHED, P.END, B.CONFIG, False, 200, received=EMPTY_ANSWER),
    "reasoning-length": FaultRow(
        K.TOKEN_LIMIT_REACHED,
        P.END,
        B.CONFIG,
        False,
        200,
        received=ReceivedCounts(1 + 5 + 1, 4 + 5 + 3 + 1, text=False),
    ),
    "malformed-tool-call": FaultRow(
        K.MALFORMED_TOOL_CALL,
        P.END,
        B.PROVIDER,
        True,
        200,
        received=ReceivedCounts(1 + 3 + 1, 3 + 2 + 3, text=False),
    ),
    "content-filter-empty": FaultRow(K.CONTENT_POLICY, P.END, B.CONTENT, False, 200, received=EMPTY_ANSWER),
    "cancelled": FaultRow(K.STREAM_ERROR, P.STREAM, B.PROVIDER, True, 200, "cancelled", THREE_DELTAS_THEN_FAILURE),
}
"""Every behaviour that fails, by name without ``sim-``."""

RETRIED_BEHAVIOURS: Final = tuple(name for name, row in EXPECTED_FAULTS.items() if row.is_retried)


def expected_fault(behaviour: str, api: str, driver: str, lifetime: ConnectionLifetime, layer: str) -> FaultRow:
    """Return the row of a behaviour, or the nearest one if the API or transport cannot express it."""
    if (behaviour, api) == ("cancelled", "chat"):  # a response can be cancelled; a completion can only be truncated
        return EXPECTED_FAULTS["truncated"]
    if lifetime == "eof":  # a body that ends with the connection cannot be recognized as cut
        if behaviour == "cut":
            return EXPECTED_FAULTS["truncated"]
        if behaviour == "reset-stream" and driver == "sync" and layer != "plain":
            # Python's blocking TLS sockets report a RST as an end of file (SSLEOFError)
            return EXPECTED_FAULTS["truncated"]
    return EXPECTED_FAULTS[behaviour]


class CompleteAnswer(NamedTuple):
    """A complete answer: its ``finish_reason``, received counts, and text."""

    finish_reason: str = "stop"
    received: ReceivedCounts = COMPLETE
    text: str = ANSWER_TEXT


EXPECTED_ANSWERS: Final[dict[str, CompleteAnswer]] = {
    "ok": CompleteAnswer(),
    "slow-drip": CompleteAnswer(),
    "low-quota": CompleteAnswer(),
    "other-model": CompleteAnswer(),
    "retiring": CompleteAnswer(),
    "comments": CompleteAnswer(),
    "no-done": CompleteAnswer(),
    "held-open": CompleteAnswer(),
    "early-finish": CompleteAnswer(),
    "length": CompleteAnswer("length", THREE_DELTAS_AND_END, "Pong! The"),
    "content-filter": CompleteAnswer("content_filter", THREE_DELTAS_AND_END, "Pong! The"),
    "refusal": CompleteAnswer(text=""),
    "tool-call": CompleteAnswer("tool_calls", ReceivedCounts(1 + 4 + 1, 3 + 3 + 3), ""),
    "reasoning": CompleteAnswer(received=ReceivedCounts(1 + 5 + 7 + 1, 4 + 5 + 3 + 2 + 7 + 4)),
    "reasoning-text": CompleteAnswer(received=ReceivedCounts(1 + 5 + 7 + 1, 4 + 5 + 3 + 2 + 7 + 4)),
    "json-200": CompleteAnswer(received=NON_STREAMING),
}
"""Every behaviour that is a complete answer, by name; the last one does not stream."""

FAULTS_WITHOUT_SIMULATOR: Final[dict[str, FaultRow]] = {
    "key with a newline": FaultRow(K.INVALID_REQUEST, P.CONFIG, B.CONFIG, False),
    "key that is not ASCII": FaultRow(K.INVALID_REQUEST, P.CONFIG, B.CONFIG, False),
    "key that comes back empty": FaultRow(K.AUTH_FAILED, P.CONFIG, B.CONFIG, False),
    "port out of range": FaultRow(K.INVALID_REQUEST, P.CONFIG, B.CONFIG, False),
    "address without a scheme": FaultRow(K.INVALID_REQUEST, P.CONFIG, B.CONFIG, False),
    "name without an address": FaultRow(K.DNS_FAILED, P.CONNECT, B.NETWORK, True),
    "name that is too long": FaultRow(K.DNS_FAILED, P.CONNECT, B.NETWORK, True),
    "connection refused": FaultRow(K.CONNECT_FAILED, P.CONNECT, B.NETWORK, True),
    "untrusted certificate": FaultRow(K.TLS_FAILED, P.CONNECT, B.CONFIG, False),
    "no TLS where it is expected": FaultRow(K.TLS_FAILED, P.CONNECT, B.CONFIG, False),
    "handshake without an answer": FaultRow(K.CONNECT_TIMEOUT, P.CONNECT, B.NETWORK, True),
    "pool without a free connection": FaultRow(K.POOL_EXHAUSTED, P.CONNECT, B.LOCAL, True),
    "proxy that refuses": FaultRow(K.PROXY_FAILED, P.CONNECT, B.NETWORK, True),
    "answer over its limit": FaultRow(
        K.ANSWER_TOO_LONG, P.STREAM, B.PROVIDER, False, 200, received=ReceivedCounts(9, 9)
    ),
    "line over its limit": FaultRow(K.ANSWER_TOO_LONG, P.STREAM, B.PROVIDER, False, 200),
    "deadline before the headers": FaultRow(K.TOTAL_TIMEOUT, P.HEADERS, B.PROVIDER, False),
    "deadline before the first token": FaultRow(K.TOTAL_TIMEOUT, P.STREAM, B.PROVIDER, False, 200),
    "deadline in the text": FaultRow(K.TOTAL_TIMEOUT, P.STREAM, B.PROVIDER, False, 200, received=THREE_DELTAS),
    "deadline before the next attempt": FaultRow(
        K.RATE_LIMITED, P.HEADERS, B.QUOTA, True, 429, "rate_limit_exceeded", retry_after=1.0
    ),
}
"""Faults that a conforming server, or any server, cannot produce."""

FAULTS_TESTED_ELSEWHERE: Final[dict[FaultKind, str]] = {
    K.CIRCUIT_OPEN: "no attempt ends with it: nothing is sent (test_client_fault_matrix_no_simulator.py)",
    K.CANCELLED: "the caller gets the cancellation, and no StreamFailed (test_client_fault_matrix_no_simulator.py)",
    K.CLIENT_DELAYED: "the event loop has to be late (tests/client/drivers/test_drivers_loop_lag.py)",
    K.CLIENT_EXHAUSTED: "the process needs a limit of open files (tests/client/drivers/test_drivers_exhaustion.py)",
    K.UNEXPECTED_ANSWER: "what an answer should say is known to a canary alone (tests/canary)",
}
"""Kinds that no row produces, with the reason."""

_TIMEOUTS_BY_FAULT = {
    K.HEADERS_TIMEOUT: Timeouts(headers=2.0),
    K.FIRST_TOKEN_TIMEOUT: Timeouts(first_token=2.0),
    K.STALLED: Timeouts(stall=1.0),
}


def timeouts_for(behaviour: str) -> Timeouts:
    """Return timeouts of which only the one that ``behaviour`` exceeds is short.

    It is long enough for a busy machine to send what precedes the silence, and the complete answer after it.
    """
    behaviour = behaviour.partition("@")[0]
    if behaviour == "5xx-stalled-body":
        return Timeouts(headers=2.0)
    if behaviour == "slow-drip":
        return Timeouts(stall=1.5)  # longer than each gap, shorter than their sum
    if behaviour == "held-open":
        return Timeouts(stall=1.5)  # the wait for the end of the answer
    row = EXPECTED_FAULTS.get(behaviour)
    return _TIMEOUTS_BY_FAULT.get(row.kind, Timeouts()) if row else Timeouts()
