"""The output speed of an attempt: tokens a second after the first token."""

import json
from typing import Any

import pytest

from streamcanary.client.core.attempt import AttemptMachine
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.timeouts import Timeouts
from streamcanary.model.outcome import OutputSpeed

STREAM = {"content-type": "text/event-stream"}
TIMEOUTS = Timeouts(connect=1, headers=2, first_token=50, stall=30, total=100)
WORD = "word "  # five bytes: two tokens by the estimate, one by the count of deltas


def chunk(content: str = "", finish: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": content, **delta}, "finish_reason": finish}
    return b"data: " + json.dumps({"model": "m", "choices": [choice]}).encode() + b"\n\n"


def usage(output: int, reasoning: int | None = None) -> bytes:
    counts: dict[str, Any] = {"prompt_tokens": 9, "completion_tokens": output}
    if reasoning is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return b"data: " + json.dumps({"model": "m", "choices": [], "usage": counts}).encode() + b"\n\n"


def speed_of(*pieces: tuple[float, bytes], last: tuple[bytes, ...] = ()) -> OutputSpeed | None:
    """Return the speed of an answer whose ``pieces`` arrived at the given times, then its end and ``last``."""
    machine = AttemptMachine(TIMEOUTS, started=0.0)
    machine.headers_received(ResponseHead(200, STREAM), wall_time=0.0)
    for at, piece in pieces:
        machine.feed(piece, at)
    end = pieces[-1][0]
    machine.feed(chunk(finish="stop") + b"".join(last), end)
    machine.feed_eof(end + 20.0)
    assert None is machine.fault
    return machine.output_speed


def words(count: int, gap: float = 0.1) -> tuple[tuple[float, bytes], ...]:
    """Return ``count`` words, the first at 2 s, and then one each ``gap`` seconds."""
    return tuple((2.0 + number * gap, chunk(WORD)) for number in range(count))


def rounded(speed: OutputSpeed | None) -> tuple[float, float, bool] | None:
    return None if speed is None else (round(speed.tokens_per_second, 3), round(speed.seconds, 3), speed.is_estimated)


def test_reported_tokens_after_the_first_token_are_counted() -> None:
    """Eleven reported tokens, ten of them in the second after the first, are ten a second."""
    assert (10.0, 1.0, False) == rounded(speed_of(*words(11), last=(usage(11),)))


def test_the_time_to_the_first_token_and_the_end_of_the_stream_do_not_count() -> None:
    """Waiting before the first token, and for the end after the last, does not make an answer slow."""
    late = tuple((at + 40, piece) for at, piece in words(11))
    assert (10.0, 1.0, False) == rounded(speed_of(*late, last=(usage(11),)))


def test_tokens_that_arrive_with_the_first_do_not_count() -> None:
    """Of ten tokens of which five arrive at once with the first, five were generated in the time after."""
    together = tuple((2.0, piece) for _, piece in words(5))
    then = tuple((2.2 + number * 0.2, chunk(WORD)) for number in range(5))
    assert (5.0, 1.0, False) == rounded(speed_of(*together, *then, last=(usage(10),)))


def test_hidden_reasoning_does_not_count() -> None:
    """Reasoning that is reported and was not streamed came before the first token."""
    assert (10.0, 1.0, False) == rounded(speed_of(*words(11), last=(usage(511, reasoning=500),)))


def test_streamed_reasoning_counts() -> None:
    """Reasoning that was streamed is output like any other."""
    reasoning = tuple((2.0 + number * 0.1, chunk(reasoning_content=WORD)) for number in range(11))
    answer = tuple((3.1 + number * 0.1, chunk(WORD)) for number in range(10))
    assert (10.0, 2.0, False) == rounded(speed_of(*reasoning, *answer, last=(usage(21, reasoning=11),)))


@pytest.mark.parametrize("claim", [usage(0), usage(2), usage(500), usage(2**60), usage(11, reasoning=11)])
def test_an_impossible_count_is_replaced_by_an_estimate(claim: bytes) -> None:
    """A count that does not fit the text is not used: of 55 bytes, 14 tokens are estimated, and it is said so."""
    assert (round(14 * 10 / 11, 3), 1.0, True) == rounded(speed_of(*words(11), last=(claim,)))


def test_without_a_count_the_tokens_are_estimated() -> None:
    """Without usage, a token for each delta or for four bytes is estimated, whichever are more."""
    assert (round(14 * 10 / 11, 3), 1.0, True) == rounded(speed_of(*words(11)))
    letters = tuple((2.0 + number * 0.1, chunk("a")) for number in range(11))
    assert (10.0, 1.0, True) == rounded(speed_of(*letters))


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(words(1), id="one token"),
        pytest.param(words(3), id="too few tokens to measure"),
        pytest.param(words(50, gap=0.0), id="all at once"),
        pytest.param(words(50, gap=1e-6), id="faster than any server: held back on the way"),
    ],
)
def test_what_cannot_be_measured_has_no_speed(pieces: tuple[tuple[float, bytes], ...]) -> None:
    """A short answer, and one that arrives at once, say nothing about the speed of the model."""
    assert None is speed_of(*pieces)


def test_a_failed_attempt_has_no_speed() -> None:
    """The speed of an answer that was cut is not that of the model."""
    machine = AttemptMachine(TIMEOUTS, started=0.0)
    machine.headers_received(ResponseHead(200, STREAM), wall_time=0.0)
    for at, piece in words(11):
        machine.feed(piece, at)
    machine.feed_eof(4.0)
    assert None is machine.output_speed


def test_pauses_of_the_caller_do_not_count() -> None:
    """The time that the caller takes between two reads is no time of the model."""
    machine = AttemptMachine(TIMEOUTS, started=0.0)
    machine.headers_received(ResponseHead(200, STREAM), wall_time=0.0)
    for number, (at, piece) in enumerate(words(11)):
        machine.clock.exclude_pause(5.0 if number else 0.0)
        machine.feed(piece, at + 5 * number)
    machine.feed(chunk(finish="stop") + usage(11), 60.0)
    machine.feed_eof(60.0)
    assert (10.0, 1.0, False) == rounded(machine.output_speed)
    assert 0.1 == pytest.approx(machine.clock.gaps.median())
