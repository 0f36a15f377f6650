"""The fault table: what each behaviour of the simulator becomes, row by row."""

from typing import Final, NamedTuple

from streamcanary.client.timeouts_and_retries import Timeouts
from streamcanary.model.faults import Blame, FaultKind, Phase
from streamcanary.simulator import Lifetime

ANSWER = "Pong! The canary sings."
K, B, P = FaultKind, Blame, Phase


class Came(NamedTuple):
    """How much of an answer comes: chunks of Chat Completions, events of Responses, and whether a token is in them."""

    chat: int
    responses: int
    token: bool = True

    def of(self, api: str) -> int:
        """Return how many come through ``api``."""
        return self.chat if api == "chat" else self.responses


NOTHING = Came(0, 0, token=False)
BEGUN = Came(1, 4, token=False)
"""The role; the response, the item and the part that are begun."""
CREATED = Came(2, 3, token=False)
"""A whole answer with nothing in it."""
FEW = Came(1 + 3, 4 + 3)
"""Three of seven deltas."""
GIVEN_UP = Came(1 + 3, 4 + 3 + 1)
"""The same; in Responses the failure is an event of the answer itself."""
SHORT = Came(1 + 3 + 1, 4 + 3 + 4)
"""Three deltas and a proper end."""
UNENDED = Came(1 + 7 + 1, 4 + 7 + 3)
"""All but the terminal event, which in Chat Completions is a chunk without its ``finish_reason``."""
WHOLE = Came(1 + 7 + 1, 4 + 7 + 4)
ONE_BODY = Came(1, 1)


class Row(NamedTuple):
    """One row: the fault that each attempt ends with, and whether the same request is sent again.

    ``retry_after`` is in seconds, at the pace of :data:`support.client.fault_matrix.PACE`.
    """

    kind: FaultKind
    phase: Phase
    blame: Blame
    retried: bool
    status: int | None = None
    code: str | None = None
    came: Came = NOTHING
    retry_after: float | None = None


FAULTS: Final[dict[str, Row]] = {
    "reset": Row(K.CONNECTION_LOST, P.HEADERS, B.NETWORK, True),
    "close": Row(K.CONNECTION_LOST, P.HEADERS, B.NETWORK, True),
    "garbage": Row(K.CONNECTION_LOST, P.HEADERS, B.NETWORK, True),
    "no-headers": Row(K.HEADERS_TIMEOUT, P.HEADERS, B.PROVIDER, True),
    "400": Row(K.BAD_REQUEST, P.HEADERS, B.CONFIG, False, 400, "unsupported_parameter"),
    "401": Row(K.AUTH_FAILED, P.HEADERS, B.CONFIG, False, 401, "invalid_api_key"),
    "403": Row(K.PERMISSION_DENIED, P.HEADERS, B.CONFIG, False, 403, "unsupported_country_region_territory"),
    "404": Row(K.NOT_FOUND, P.HEADERS, B.CONFIG, False, 404, "model_not_found"),
    "408": Row(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 408, "server_error"),
    "409": Row(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 409, "server_error"),
    "413": Row(K.BAD_REQUEST, P.HEADERS, B.CONFIG, False, 413),
    "422": Row(K.BAD_REQUEST, P.HEADERS, B.CONFIG, False, 422, "invalid_request_error"),
    "429": Row(K.RATE_LIMITED, P.HEADERS, B.QUOTA, True, 429, "rate_limit_exceeded"),
    "429-retry-after": Row(K.RATE_LIMITED, P.HEADERS, B.QUOTA, True, 429, "rate_limit_exceeded", retry_after=1.0),
    "429-retry-after-date": Row(K.RATE_LIMITED, P.HEADERS, B.QUOTA, True, 429, "rate_limit_exceeded", retry_after=1.0),
    "429-retry-after-ms": Row(K.RATE_LIMITED, P.HEADERS, B.QUOTA, True, 429, "rate_limit_exceeded", retry_after=0.2),
    "quota": Row(K.QUOTA_EXHAUSTED, P.HEADERS, B.QUOTA, False, 429, "insufficient_quota"),
    "500": Row(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 500, "server_error"),
    "502": Row(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 502),
    "503": Row(K.OVERLOADED, P.HEADERS, B.PROVIDER, True, 503, "server_error"),
    "504": Row(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 504),
    "529": Row(K.OVERLOADED, P.HEADERS, B.PROVIDER, True, 529, "overloaded_error"),
    "5xx-stalled-body": Row(K.OVERLOADED, P.HEADERS, B.PROVIDER, True, 503, retry_after=1.0),
    "5xx-cut-body": Row(K.OVERLOADED, P.HEADERS, B.PROVIDER, True, 503, retry_after=1.0),
    "context-length": Row(K.CONTEXT_LENGTH_EXCEEDED, P.HEADERS, B.CONFIG, False, 400, "context_length_exceeded"),
    "content-policy": Row(K.CONTENT_POLICY, P.HEADERS, B.CONTENT, False, 400, "content_policy_violation"),
    "redirect": Row(K.NOT_A_STREAM, P.STREAM, B.CONFIG, False, 200),
    "html-200": Row(K.NOT_A_STREAM, P.STREAM, B.CONFIG, False, 200),
    "204": Row(K.NOT_A_STREAM, P.STREAM, B.CONFIG, False, 204),
    "empty-body": Row(K.NOT_A_STREAM, P.STREAM, B.CONFIG, False, 200),
    "empty-stream": Row(K.NOT_A_STREAM, P.END, B.CONFIG, False, 200),
    "json-error-200": Row(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 200, "server_error"),
    "slow-first-token": Row(K.FIRST_TOKEN_TIMEOUT, P.STREAM, B.PROVIDER, True, 200, came=BEGUN),
    "pings": Row(K.FIRST_TOKEN_TIMEOUT, P.STREAM, B.PROVIDER, True, 200),
    "empty-deltas": Row(K.FIRST_TOKEN_TIMEOUT, P.STREAM, B.PROVIDER, True, 200, came=BEGUN),
    "stall": Row(K.STALLED, P.STREAM, B.PROVIDER, True, 200, came=FEW),
    "keepalive-stall": Row(K.STALLED, P.STREAM, B.PROVIDER, True, 200, came=FEW),
    "cut": Row(K.STREAM_CUT, P.STREAM, B.NETWORK, True, 200, came=FEW),
    "reset-stream": Row(K.STREAM_CUT, P.STREAM, B.NETWORK, True, 200, came=FEW),
    "truncated": Row(K.STREAM_TRUNCATED, P.END, B.PROVIDER, True, 200, came=FEW),
    "null-finish": Row(K.STREAM_TRUNCATED, P.END, B.PROVIDER, True, 200, came=UNENDED),
    "malformed": Row(K.STREAM_MALFORMED, P.STREAM, B.PROVIDER, True, 200, came=FEW),
    "bad-utf8": Row(K.STREAM_MALFORMED, P.STREAM, B.PROVIDER, True, 200, came=BEGUN),
    "inband-error": Row(K.SERVER_ERROR, P.STREAM, B.PROVIDER, True, 200, "server_error", FEW),
    "event-error": Row(K.SERVER_ERROR, P.STREAM, B.PROVIDER, True, 200, "server_error", FEW),
    "flat-error": Row(K.SERVER_ERROR, P.STREAM, B.PROVIDER, True, 200, "server_error", FEW),
    "nested-error": Row(K.SERVER_ERROR, P.STREAM, B.PROVIDER, True, 200, "server_error", FEW),
    "failed": Row(K.SERVER_ERROR, P.STREAM, B.PROVIDER, True, 200, "server_error", GIVEN_UP),
    "failed-rate-limit": Row(K.RATE_LIMITED, P.STREAM, B.QUOTA, True, 200, "rate_limit_exceeded", GIVEN_UP),
    "empty": Row(K.EMPTY_ANSWER, P.END, B.CONTENT, True, 200, came=CREATED),
    "incomplete-empty": Row(K.EMPTY_ANSWER, P.END, B.CONTENT, True, 200, came=CREATED),
    "content-filter-empty": Row(K.CONTENT_POLICY, P.END, B.CONTENT, False, 200, came=CREATED),
    "cancelled": Row(K.STREAM_ERROR, P.STREAM, B.PROVIDER, True, 200, "cancelled", GIVEN_UP),
}
"""Every behaviour that fails, by name, ``sim-`` left off."""

RETRIED: Final = tuple(name for name, row in FAULTS.items() if row.retried)


def row_of(behaviour: str, api: str, driver: str, lifetime: Lifetime, layer: str) -> Row:
    """Return the row of a behaviour, or the nearest, where the API or the transport have no word for what it does."""
    if (behaviour, api) == ("cancelled", "chat"):  # a response can be cancelled; a completion can only end too soon
        return FAULTS["truncated"]
    if lifetime == "eof":  # a body that ends with its connection
        if behaviour == "cut":
            return FAULTS["truncated"]
        if behaviour == "reset-stream" and driver == "sync" and layer != "plain":
            return FAULTS["truncated"]  # Python's blocking TLS sockets take a RST for an end (as SSLEOFError)
    return FAULTS[behaviour]


class Whole(NamedTuple):
    """A whole answer: its ``finish_reason``, what comes of it, and its text."""

    finish_reason: str = "stop"
    came: Came = WHOLE
    text: str = ANSWER


ANSWERS: Final[dict[str, Whole]] = {
    "ok": Whole(),
    "slow-drip": Whole(),
    "comments": Whole(),
    "no-done": Whole(),
    "length": Whole("length", SHORT, "Pong! The"),
    "content-filter": Whole("content_filter", SHORT, "Pong! The"),
    "refusal": Whole(text=""),
    "tool-call": Whole("tool_calls", Came(1 + 4 + 1, 3 + 3 + 3), ""),
    "reasoning": Whole(came=Came(1 + 5 + 7 + 1, 4 + 5 + 3 + 2 + 7 + 4)),
    "reasoning-text": Whole(came=Came(1 + 5 + 7 + 1, 4 + 5 + 3 + 2 + 7 + 4)),
    "json-200": Whole(came=ONE_BODY),
}
"""Every behaviour that is a whole answer, by name; the last one is no stream."""

UNSERVED: Final[dict[str, Row]] = {
    "key with a newline": Row(K.INVALID_REQUEST, P.CONFIG, B.CONFIG, False),
    "key that is not ASCII": Row(K.INVALID_REQUEST, P.CONFIG, B.CONFIG, False),
    "key that comes back empty": Row(K.AUTH_FAILED, P.CONFIG, B.CONFIG, False),
    "port out of range": Row(K.INVALID_REQUEST, P.CONFIG, B.CONFIG, False),
    "address without a scheme": Row(K.INVALID_REQUEST, P.CONFIG, B.CONFIG, False),
    "name without an address": Row(K.DNS_FAILED, P.CONNECT, B.NETWORK, True),
    "name that is too long": Row(K.DNS_FAILED, P.CONNECT, B.NETWORK, True),
    "nobody listens": Row(K.CONNECT_FAILED, P.CONNECT, B.NETWORK, True),
    "certificate that nobody trusts": Row(K.TLS_FAILED, P.CONNECT, B.CONFIG, False),
    "no TLS where it is expected": Row(K.TLS_FAILED, P.CONNECT, B.CONFIG, False),
    "handshake without an answer": Row(K.CONNECT_TIMEOUT, P.CONNECT, B.NETWORK, True),
    "pool without a free connection": Row(K.POOL_EXHAUSTED, P.CONNECT, B.LOCAL, True),
    "proxy that refuses": Row(K.PROXY_FAILED, P.CONNECT, B.NETWORK, True),
    "redirects without end": Row(K.NOT_A_STREAM, P.HEADERS, B.CONFIG, False),
    "answer over its limit": Row(K.ANSWER_TOO_LONG, P.STREAM, B.PROVIDER, False, 200, came=Came(9, 9)),
    "line over its limit": Row(K.STREAM_MALFORMED, P.STREAM, B.PROVIDER, True, 200),
    "deadline before the headers": Row(K.TOTAL_TIMEOUT, P.HEADERS, B.PROVIDER, False),
    "deadline before the first token": Row(K.TOTAL_TIMEOUT, P.STREAM, B.PROVIDER, False, 200),
    "deadline in the text": Row(K.TOTAL_TIMEOUT, P.STREAM, B.PROVIDER, False, 200, came=FEW),
    "deadline before the next attempt": Row(
        K.RATE_LIMITED, P.HEADERS, B.QUOTA, True, 429, "rate_limit_exceeded", retry_after=1.0
    ),
}
"""What a good server cannot play, or no server at all."""

ELSEWHERE: Final[dict[FaultKind, str]] = {
    K.CIRCUIT_OPEN: "no attempt ends with it: nothing is sent (test_client_fault_matrix_no_simulator.py)",
    K.CANCELLED: "the caller gets the cancellation, and no StreamFailed (test_client_fault_matrix_no_simulator.py)",
    K.UNEXPECTED_ANSWER: "what an answer should say is known to a canary alone (tests/canary)",
}
"""Kinds that no row ends with, and why."""

_STRIKES = {
    K.HEADERS_TIMEOUT: Timeouts(headers=2.0),
    K.FIRST_TOKEN_TIMEOUT: Timeouts(first_token=2.0),
    K.STALLED: Timeouts(stall=1.0),
}


def clocks_for(behaviour: str) -> Timeouts:
    """Return clocks of which only the one that ``behaviour`` makes strike is short.

    It is long enough for a busy machine to send what comes before the silence, and the whole answer after it.
    """
    behaviour = behaviour.partition("@")[0]
    if behaviour == "5xx-stalled-body":
        return Timeouts(headers=2.0)
    if behaviour == "slow-drip":
        return Timeouts(stall=1.5)  # longer than each of its gaps, shorter than all of them
    row = FAULTS.get(behaviour)
    return _STRIKES.get(row.kind, Timeouts()) if row else Timeouts()
