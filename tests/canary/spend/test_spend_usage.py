"""The usage of a run, from its events."""

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
    run_usage = RunUsage(estimate_tokens(PROMPT, {} if limit is None else {"max_tokens": limit}), [PRICE])
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
    """A token count above 10 million is limited to it, so that it does not exhaust the budget."""
    usage = Usage(input_tokens=2**53, output_tokens=3)
    assert (10_000_000, 3, 1) == tokens(SENT, Completed("stop", usage, None))


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
    run_usage.observe(Completed("stop", Usage(input_tokens=1, output_tokens=1), None))
    assert True is run_usage.is_priced
    run_usage.observe(FallbackStarted("b"))
    run_usage.observe(AttemptStarted(2, "b"))
    spend = run_usage.close()
    assert (False, 2, 27) == (run_usage.is_priced, spend.requests, spend.input_tokens)


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
