"""The usage of a run, from its events."""

from typing import Any

import pytest

from streamcanary.canary.spend.prices import FREE, Price
from streamcanary.canary.spend.usage import RunUsage, estimate_tokens
from streamcanary.events import (
    AttemptFailed,
    AttemptStarted,
    Completed,
    ContentDelta,
    Event,
    FallbackStarted,
    ReasoningDelta,
    ToolCallDelta,
)
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Usage
from streamcanary.model.spend import Spend

PRICE = Price(input=1.0, output=10.0)
PROMPT = "x" * 30
"""10 tokens, and 16 for the message format."""


def failed(kind: FaultKind, phase: Phase, status: int | None = None) -> AttemptFailed:
    fault = make_fault(kind, phase, "a message", status=status)
    return AttemptFailed(Attempt(number=1, route="m", started=0.0, duration=1.0, fault=fault), None)


def observe_all(run_usage: RunUsage, *events: Event) -> None:
    for event in events:
        run_usage.observe(event)


def tokens(*events: Event, limit: int | None = 64) -> tuple[int, int, int]:
    """Return input tokens, output tokens and requests of a run with ``events``."""
    run_usage = RunUsage(estimate_tokens(PROMPT, {} if limit is None else {"max_tokens": limit}), [PRICE], lambda: 0.0)
    observe_all(run_usage, *events)
    spend = run_usage.close()
    return spend.input_tokens, spend.output_tokens, spend.requests


SENT = AttemptStarted(1, "m")
LIMIT_TOKENS = 6
"""Tokens of ``{"max_tokens": 64}``, 18 bytes."""


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((SENT, ContentDelta("pong"), Completed("stop", Usage(input_tokens=9, output_tokens=2), None)), (9, 2, 1)),
        ((SENT, ContentDelta("pong"), Completed("stop", None, None)), (26 + LIMIT_TOKENS, 2, 1)),
        ((SENT, *[ContentDelta("a")] * 7, Completed("stop", None, None)), (26 + LIMIT_TOKENS, 7, 1)),
        ((SENT, ReasoningDelta("äöü"), ToolCallDelta(0, "f", '{"a":1}'), Completed("stop", None, None)), (32, 5, 1)),
        ((SENT, failed(FaultKind.RATE_LIMITED, Phase.HEADERS, 429)), (26 + LIMIT_TOKENS, 0, 1)),
        ((SENT, failed(FaultKind.SERVER_ERROR, Phase.HEADERS, 500)), (26 + LIMIT_TOKENS, 0, 1)),
        ((SENT, failed(FaultKind.HEADERS_TIMEOUT, Phase.HEADERS)), (26 + LIMIT_TOKENS, 64, 1)),
        ((SENT, ContentDelta("pong"), failed(FaultKind.STREAM_CUT, Phase.STREAM)), (26 + LIMIT_TOKENS, 64, 1)),
        ((SENT, ContentDelta("p" * 300), failed(FaultKind.STALLED, Phase.STREAM)), (26 + LIMIT_TOKENS, 100, 1)),
        ((SENT, ContentDelta("pong")), (26 + LIMIT_TOKENS, 64, 1)),  # without an end
        ((SENT, failed(FaultKind.DNS_FAILED, Phase.CONNECT)), (0, 0, 0)),
        ((SENT, failed(FaultKind.TLS_FAILED, Phase.CONNECT)), (0, 0, 0)),
        ((SENT, failed(FaultKind.INVALID_REQUEST, Phase.CONFIG)), (0, 0, 0)),
        ((), (0, 0, 0)),
        ((Completed("stop", None, "cache"),), (0, 0, 0)),
    ],
)
def test_each_attempt_is_charged(events: tuple[Event, ...], expected: tuple[int, int, int]) -> None:
    """Token counts of the provider are used; otherwise the tokens of each sent attempt are estimated."""
    assert expected == tokens(*events)


def test_an_incomplete_stream_without_limit_counts_256_tokens() -> None:
    """An incomplete response without a token limit counts 256 output tokens."""
    assert (26, 256, 1) == tokens(SENT, failed(FaultKind.STREAM_CUT, Phase.STREAM), limit=None)


def test_token_counts_of_the_provider_are_limited() -> None:
    """A token count above 10 million is limited to it, even if the request allows it."""
    huge = estimate_tokens(PROMPT, {"max_tokens": 2**53})
    assert 10_000_000 == huge.output_tokens


def test_each_attempt_is_charged_the_price_of_its_route() -> None:
    """Retries are charged, and fallbacks at the price of their own model."""
    run_usage = RunUsage(estimate_tokens(PROMPT, {}), [PRICE, FREE, Price(input=0.0, output=1000.0)])
    cut, whole = failed(FaultKind.STREAM_CUT, Phase.STREAM), Completed("stop", Usage(output_tokens=5), "fallback")
    observe_all(run_usage, SENT, cut, AttemptStarted(2, "m"), cut)
    assert pytest.approx(2 * (26 * 1.0 + 256 * 10.0) / 1e6) == run_usage.spend.usd
    observe_all(run_usage, FallbackStarted("b"), AttemptStarted(3, "b"), cut)
    assert pytest.approx(2 * (26 * 1.0 + 256 * 10.0) / 1e6) == run_usage.spend.usd
    observe_all(run_usage, FallbackStarted("c"), AttemptStarted(4, "c"), whole)
    assert (pytest.approx(2 * (26 + 2560) / 1e6 + 5 * 1000 / 1e6), 4, True) == (
        run_usage.close().usd,
        run_usage.spend.requests,
        run_usage.is_priced,
    )


def test_an_unknown_price_is_reported() -> None:
    """With an unknown price ``is_priced`` is false, and tokens are counted."""
    run_usage = RunUsage(estimate_tokens(PROMPT, {}), [PRICE, None])
    run_usage.observe(SENT)
    run_usage.observe(Completed("stop", Usage(input_tokens=2, output_tokens=1), None))
    assert True is run_usage.is_priced
    run_usage.observe(FallbackStarted("b"))
    run_usage.observe(AttemptStarted(2, "b"))
    spend = run_usage.close()
    assert (False, 2, 28) == (run_usage.is_priced, spend.requests, spend.input_tokens)


def test_closing_twice_charges_once() -> None:
    """An attempt is charged once."""
    run_usage = RunUsage(estimate_tokens(PROMPT, {}), [PRICE])
    run_usage.observe(SENT)
    assert run_usage.close() == run_usage.close()


def test_request_parameters_count_as_input() -> None:
    """Tools count as input; the lowest positive limit is the maximum output."""
    tools = {"tools": [{"type": "function", "name": "f" * 300}], "max_tokens": 0, "max_completion_tokens": 8}
    assert True is (estimate_tokens("", tools).input_tokens > 100 + 16)
    assert 8 == estimate_tokens("", tools).output_tokens
    assert 16 == estimate_tokens("", {}).input_tokens


def test_spend_values_can_be_added() -> None:
    """The sum keeps input and output apart."""
    one = PRICE.spend_for(100, 10)
    both = one + one
    assert (200, 20, 2, pytest.approx(2e-4), pytest.approx(2e-4)) == (
        both.input_tokens,
        both.output_tokens,
        both.requests,
        both.input_usd,
        both.output_usd,
    )
    assert Spend() == Spend() + Spend()


def charged(claim: Usage, *deltas: Event, seconds: float = 0.0, **request: Any) -> tuple[int, int]:
    """Return the input and output tokens of a response that took ``seconds`` and claims ``claim``."""
    times = iter([0.0])
    run_usage = RunUsage(estimate_tokens(PROMPT, request), [PRICE], lambda: next(times, seconds))
    observe_all(run_usage, SENT, *deltas, Completed("stop", claim, None))
    spend = run_usage.close()
    assert (claim != (believed := run_usage.charged or claim)) is believed.is_estimated
    return spend.input_tokens, spend.output_tokens


ESTIMATE = 26
"""Input tokens of ``PROMPT`` without parameters."""


@pytest.mark.parametrize(
    ("request_parameters", "seconds", "claim", "expected"),
    [
        ({"max_tokens": 64}, 60.0, 900, 900),  # a server that does not count reasoning against the limit
        ({"max_tokens": 64}, 60.0, 1280, 1280),
        ({"max_tokens": 64}, 60.0, 1281, 64),
        ({"max_output_tokens": 64}, 60.0, 10_000_000, 64),
        ({"max_completion_tokens": 100_000}, 2.0, 11_000, 11_000),  # 5,000 tokens a second, and 1,000
        ({"max_completion_tokens": 100_000}, 2.0, 11_001, 11_000),
        ({}, 0.0, 1000, 1000),
        ({}, 0.0, 1001, 256),
        ({}, 20.0, 10_000_000, 256),
        ({}, 20.0, 10**30, 256),
        ({}, 0.0, 0, 34),  # 100 characters cannot be less than 7 tokens
        ({}, 0.0, 6, 34),
        ({}, 0.0, 7, 7),
    ],
)
def test_impossible_output_is_estimated(
    request_parameters: dict[str, int], seconds: float, claim: int, expected: int
) -> None:
    """Output over the limit of the request, faster than any server, or too few for the text, is estimated."""
    usage = Usage(input_tokens=20, output_tokens=claim)
    assert expected == charged(usage, ContentDelta("a" * 100), seconds=seconds, **request_parameters)[1]


@pytest.mark.parametrize(
    ("request_parameters", "claim", "expected"),
    [
        ({}, 3000, 3000),  # a gateway that adds a system prompt
        ({}, 4 * ESTIMATE + 8192, 4 * ESTIMATE + 8192),
        ({}, 4 * ESTIMATE + 8193, ESTIMATE),
        ({}, 10_000_000, ESTIMATE),
        ({}, 0, ESTIMATE),
        ({}, 1, ESTIMATE),
        ({}, 2, 2),
        ({"tools": [{"type": "function", "name": "f"}]}, 100_000, ESTIMATE + 16),
        ({"tools": [{"type": "web_search"}]}, 100_000, 100_000),
        ({"previous_response_id": "r"}, 1_000_000, 1_000_000),
        ({"previous_response_id": "r"}, 1_000_001, ESTIMATE + 10),
    ],
)
def test_impossible_input_is_estimated(request_parameters: dict[str, Any], claim: int, expected: int) -> None:
    """More input than the prompt can be, or less, is estimated; a server with its own tools and state may add some."""
    assert expected == charged(Usage(input_tokens=claim, output_tokens=0), **request_parameters)[0]


def test_a_flood_of_deltas_counts_up_to_the_limit_of_the_request() -> None:
    """A provider cannot raise its bill by single characters beyond what the request allows."""
    assert (32, 1000, 1) == tokens(SENT, *[ContentDelta("a")] * 5000, Completed("stop", None, None))
