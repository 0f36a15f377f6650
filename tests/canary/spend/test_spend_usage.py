"""What a run is reckoned to have used."""

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
QUESTION = "x" * 30
"""Ten tokens, and sixteen for the frame."""


def failed(kind: FaultKind, phase: Phase, status: int | None = None) -> AttemptFailed:
    fault = make_fault(kind, phase, "so it was", status=status)
    return AttemptFailed(Attempt(number=1, route="m", started=0.0, duration=1.0, fault=fault), None)


def see(bill: RunUsage, *events: Event) -> None:
    for event in events:
        bill.observe(event)


def tokens(*events: Event, limit: int | None = 64) -> tuple[int, int, int]:
    """Return input tokens, output tokens and requests of a run that saw ``events``."""
    bill = RunUsage(estimate_tokens(QUESTION, {} if limit is None else {"max_tokens": limit}), [PRICE])
    see(bill, *events)
    spend = bill.close()
    return spend.input_tokens, spend.output_tokens, spend.requests


SENT = AttemptStarted(1, "m")
EXTRA = 6
"""Tokens of ``{"max_tokens": 64}``, 18 bytes."""


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((SENT, ContentDelta("pong"), Completed("stop", Usage(input_tokens=9, output_tokens=2), None)), (9, 2, 1)),
        ((SENT, ContentDelta("pong"), Completed("stop", None, None)), (26 + EXTRA, 2, 1)),
        ((SENT, *[ContentDelta("a")] * 7, Completed("stop", None, None)), (26 + EXTRA, 7, 1)),
        ((SENT, ReasoningDelta("äöü"), ToolCallDelta(0, "f", '{"a":1}'), Completed("stop", None, None)), (32, 5, 1)),
        ((SENT, failed(FaultKind.RATE_LIMITED, Phase.HEADERS, 429)), (26 + EXTRA, 0, 1)),
        ((SENT, failed(FaultKind.SERVER_ERROR, Phase.HEADERS, 500)), (26 + EXTRA, 0, 1)),
        ((SENT, failed(FaultKind.HEADERS_TIMEOUT, Phase.HEADERS)), (26 + EXTRA, 64, 1)),
        ((SENT, ContentDelta("pong"), failed(FaultKind.STREAM_CUT, Phase.STREAM)), (26 + EXTRA, 64, 1)),
        ((SENT, ContentDelta("p" * 300), failed(FaultKind.STALLED, Phase.STREAM)), (26 + EXTRA, 100, 1)),
        ((SENT, ContentDelta("pong")), (26 + EXTRA, 64, 1)),  # left in the middle
        ((SENT, failed(FaultKind.DNS_FAILED, Phase.CONNECT)), (0, 0, 0)),
        ((SENT, failed(FaultKind.TLS_FAILED, Phase.CONNECT)), (0, 0, 0)),
        ((SENT, failed(FaultKind.INVALID_REQUEST, Phase.CONFIG)), (0, 0, 0)),
        ((), (0, 0, 0)),
        ((Completed("stop", None, "cache"),), (0, 0, 0)),
    ],
)
def test_each_attempt_is_reckoned(events: tuple[Event, ...], expected: tuple[int, int, int]) -> None:
    """What the provider counted stands; else it is estimated, and what was sent is never nothing."""
    assert expected == tokens(*events)


def test_without_a_limit_a_broken_stream_has_256_tokens() -> None:
    """The model may have gone on for as long as nobody told it to stop."""
    assert (26, 256, 1) == tokens(SENT, failed(FaultKind.STREAM_CUT, Phase.STREAM), limit=None)


def test_a_provider_cannot_count_for_ever() -> None:
    """More tokens than any model takes are a mistake of the provider's, and not the end of the budget."""
    usage = Usage(input_tokens=2**53, output_tokens=3)
    assert (10_000_000, 3, 1) == tokens(SENT, Completed("stop", usage, None))


def test_every_attempt_costs_by_the_price_of_its_route() -> None:
    """Retries are paid for, and a fallback by its own model's price."""
    bill = RunUsage(estimate_tokens(QUESTION, {}), [PRICE, FREE, Price(input=0.0, output=1000.0)])
    cut, whole = failed(FaultKind.STREAM_CUT, Phase.STREAM), Completed("stop", Usage(output_tokens=5), "fallback")
    see(bill, SENT, cut, AttemptStarted(2, "m"), cut)
    assert pytest.approx(2 * (26 * 1.0 + 256 * 10.0) / 1e6) == bill.spend.usd
    see(bill, FallbackStarted("b"), AttemptStarted(3, "b"), cut)
    assert pytest.approx(2 * (26 * 1.0 + 256 * 10.0) / 1e6) == bill.spend.usd
    see(bill, FallbackStarted("c"), AttemptStarted(4, "c"), whole)
    assert (pytest.approx(2 * (26 + 2560) / 1e6 + 5 * 1000 / 1e6), 4, True) == (
        bill.close().usd,
        bill.spend.requests,
        bill.is_priced,
    )


def test_a_price_that_nobody_knows_is_told() -> None:
    """Tokens count all the same."""
    bill = RunUsage(estimate_tokens(QUESTION, {}), [PRICE, None])
    bill.observe(SENT)
    bill.observe(Completed("stop", Usage(input_tokens=1, output_tokens=1), None))
    assert True is bill.is_priced
    bill.observe(FallbackStarted("b"))
    bill.observe(AttemptStarted(2, "b"))
    spend = bill.close()
    assert (False, 2, 27) == (bill.is_priced, spend.requests, spend.input_tokens)


def test_closing_twice_is_closing_once() -> None:
    """An attempt is paid for once."""
    bill = RunUsage(estimate_tokens(QUESTION, {}), [PRICE])
    bill.observe(SENT)
    assert bill.close() == bill.close()


def test_the_frame_of_a_request_counts() -> None:
    """Tools and instructions are input, too; the lowest limit is the one that holds, and nonsense is none."""
    tools = {"tools": [{"type": "function", "name": "f" * 300}], "max_tokens": 0, "max_completion_tokens": 8}
    assert True is (estimate_tokens("", tools).input_tokens > 100 + 16)
    assert 8 == estimate_tokens("", tools).output_tokens
    assert 16 == estimate_tokens("", {}).input_tokens


def test_spend_adds_up() -> None:
    """Sums keep what was spent on input and on output apart."""
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
