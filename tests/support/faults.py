"""The fault table: what each behaviour of the simulator becomes, row by row."""

from typing import NamedTuple

from streamcanary.client.policy import Timeouts
from streamcanary.model.faults import Blame, FaultKind, Phase

ANSWER = "Pong! The canary sings."
K, B, P = FaultKind, Blame, Phase


class Row(NamedTuple):
    """One row: the fault that each attempt ends with, and whether the same request is sent again."""

    kind: FaultKind
    phase: Phase
    blame: Blame
    retried: bool
    status: int | None = None


FAULTS: dict[str, Row] = {
    "reset": Row(K.CONNECTION_LOST, P.HEADERS, B.NETWORK, True),
    "close": Row(K.CONNECTION_LOST, P.HEADERS, B.NETWORK, True),
    "garbage": Row(K.CONNECTION_LOST, P.HEADERS, B.NETWORK, True),
    "no-headers": Row(K.HEADERS_TIMEOUT, P.HEADERS, B.PROVIDER, True),
    "400": Row(K.BAD_REQUEST, P.HEADERS, B.CONFIG, False, 400),
    "401": Row(K.AUTH_FAILED, P.HEADERS, B.CONFIG, False, 401),
    "403": Row(K.PERMISSION_DENIED, P.HEADERS, B.CONFIG, False, 403),
    "404": Row(K.NOT_FOUND, P.HEADERS, B.CONFIG, False, 404),
    "408": Row(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 408),
    "409": Row(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 409),
    "413": Row(K.BAD_REQUEST, P.HEADERS, B.CONFIG, False, 413),
    "422": Row(K.BAD_REQUEST, P.HEADERS, B.CONFIG, False, 422),
    "429": Row(K.RATE_LIMITED, P.HEADERS, B.QUOTA, True, 429),
    "quota": Row(K.QUOTA_EXHAUSTED, P.HEADERS, B.QUOTA, False, 429),
    "500": Row(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 500),
    "502": Row(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 502),
    "503": Row(K.OVERLOADED, P.HEADERS, B.PROVIDER, True, 503),
    "504": Row(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True, 504),
    "529": Row(K.OVERLOADED, P.HEADERS, B.PROVIDER, True, 529),
    "5xx-stalled-body": Row(K.OVERLOADED, P.HEADERS, B.PROVIDER, True, 503),
    "5xx-cut-body": Row(K.OVERLOADED, P.HEADERS, B.PROVIDER, True, 503),
    "context-length": Row(K.CONTEXT_LENGTH_EXCEEDED, P.HEADERS, B.CONFIG, False, 400),
    "content-policy": Row(K.CONTENT_POLICY, P.HEADERS, B.CONTENT, False, 400),
    "redirect": Row(K.NOT_A_STREAM, P.STREAM, B.CONFIG, False, 200),
    "html-200": Row(K.NOT_A_STREAM, P.STREAM, B.CONFIG, False, 200),
    "204": Row(K.NOT_A_STREAM, P.STREAM, B.CONFIG, False, 204),
    "empty-body": Row(K.NOT_A_STREAM, P.STREAM, B.CONFIG, False, 200),
    "empty-stream": Row(K.NOT_A_STREAM, P.END, B.CONFIG, False, 200),
    "json-error-200": Row(K.SERVER_ERROR, P.HEADERS, B.PROVIDER, True),
    "slow-first-token": Row(K.FIRST_TOKEN_TIMEOUT, P.STREAM, B.PROVIDER, True, 200),
    "pings": Row(K.FIRST_TOKEN_TIMEOUT, P.STREAM, B.PROVIDER, True, 200),
    "empty-deltas": Row(K.FIRST_TOKEN_TIMEOUT, P.STREAM, B.PROVIDER, True, 200),
    "stall": Row(K.STALLED, P.STREAM, B.PROVIDER, True, 200),
    "keepalive-stall": Row(K.STALLED, P.STREAM, B.PROVIDER, True, 200),
    "cut": Row(K.STREAM_CUT, P.STREAM, B.NETWORK, True),
    "reset-stream": Row(K.STREAM_CUT, P.STREAM, B.NETWORK, True),
    "truncated": Row(K.STREAM_TRUNCATED, P.END, B.PROVIDER, True, 200),
    "null-finish": Row(K.STREAM_TRUNCATED, P.END, B.PROVIDER, True, 200),
    "malformed": Row(K.STREAM_MALFORMED, P.STREAM, B.PROVIDER, True),
    "bad-utf8": Row(K.STREAM_MALFORMED, P.STREAM, B.PROVIDER, True),
    "inband-error": Row(K.SERVER_ERROR, P.STREAM, B.PROVIDER, True),
    "event-error": Row(K.SERVER_ERROR, P.STREAM, B.PROVIDER, True),
    "flat-error": Row(K.SERVER_ERROR, P.STREAM, B.PROVIDER, True),
    "nested-error": Row(K.SERVER_ERROR, P.STREAM, B.PROVIDER, True),
    "failed": Row(K.SERVER_ERROR, P.STREAM, B.PROVIDER, True),
    "failed-rate-limit": Row(K.RATE_LIMITED, P.STREAM, B.QUOTA, True),
    "empty": Row(K.EMPTY_ANSWER, P.END, B.CONTENT, True, 200),
    "incomplete-empty": Row(K.EMPTY_ANSWER, P.END, B.CONTENT, True, 200),
    "content-filter-empty": Row(K.CONTENT_POLICY, P.END, B.CONTENT, False, 200),
}
"""Every behaviour that fails, by name, ``sim-`` left off."""

_STRIKES = {
    K.HEADERS_TIMEOUT: Timeouts(headers=0.3),
    K.FIRST_TOKEN_TIMEOUT: Timeouts(first_token=0.3),
    K.STALLED: Timeouts(stall=0.3),
}


def clocks_for(behaviour: str) -> Timeouts:
    """Return clocks of which only the one that ``behaviour`` makes strike is short: a busy machine moves no other."""
    if behaviour == "5xx-stalled-body":
        return Timeouts(headers=1.0)
    row = FAULTS.get(behaviour.partition("@")[0])
    return _STRIKES.get(row.kind, Timeouts()) if row else Timeouts()


CANCELLED = {
    "chat": Row(K.STREAM_TRUNCATED, P.END, B.PROVIDER, True, 200),
    "responses": Row(K.STREAM_ERROR, P.STREAM, B.PROVIDER, True),
}
"""A response can be cancelled; a completion can only end too soon."""

ANSWERS = {
    "ok": "stop",
    "comments": "stop",
    "no-done": "stop",
    "length": "length",
    "content-filter": "content_filter",
    "refusal": "stop",
    "tool-call": "tool_calls",
    "reasoning": "stop",
    "reasoning-text": "stop",
}
"""Every behaviour that is a whole answer, and its ``finish_reason``."""
