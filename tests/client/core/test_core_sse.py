"""The event-stream decoder: WHATWG HTML, section 9.2.6, to the letter, however the bytes are split."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcanary.client.core.sse import SseDecoder, SseLimitExceeded


def decode(*pieces: bytes) -> list[tuple[str, bytes]]:
    decoder = SseDecoder()
    return [(event.event, event.data) for piece in pieces for event in decoder.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [("message", b"a")]),
        (b"data:a\n\n", [("message", b"a")]),
        (b"data:  a\n\n", [("message", b" a")]),
        (b"data: a\r\n\r\n", [("message", b"a")]),
        (b"data: a\r\r", [("message", b"a")]),
        (b"data: a\ndata: b\n\n", [("message", b"a\nb")]),
        (b"data\n\n", [("message", b"")]),
        (b": ping\n\n", []),
        (b": ping\ndata: a\n: pong\n\n", [("message", b"a")]),
        (b"event: error\ndata: a\n\n", [("error", b"a")]),
        (b"event: error\n\ndata: a\n\n", [("message", b"a")]),
        (b"id: 1\nretry: 10\nunknown: x\ndata: a\n\n", [("message", b"a")]),
        (b"retry: 10\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", [("message", b"a")]),
        (b"data: a\n\ndata: b\n\n", [("message", b"a"), ("message", b"b")]),
        (b"\n\n\ndata: a\n\n\n\n", [("message", b"a")]),
        (b"data: a", []),
        (b"data: a\n", []),
        (b"data : a\n\n", []),
        (b"", []),
    ],
)
def test_reads_the_format(stream: bytes, events: list[tuple[str, bytes]]) -> None:
    """Every construct of the format gives the events that the specification says."""
    assert events == decode(stream)


SAMPLE = b"\xef\xbb\xbfevent: e\r\ndata: one\r\n\r\n: c\rdata: two\rdata: three\r\rdata: f\xc3\xbcnf\n\n"


@given(st.lists(st.integers(0, len(SAMPLE)), max_size=12))
def test_any_split_gives_the_same_events(cuts: list[int]) -> None:
    """Where the bytes are split changes nothing, be it inside a CRLF, a byte order mark or a character."""
    edges = [0, *sorted(cuts), len(SAMPLE)]
    pieces = [SAMPLE[start:end] for start, end in pairwise(edges)]
    assert decode(SAMPLE) == decode(*pieces)


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_are_taken(pieces: list[bytes]) -> None:
    """No bytes break the decoder, and their split changes nothing."""
    assert decode(b"".join(pieces)) == decode(*pieces)


def test_bounds_a_line() -> None:
    """A line that does not end is given up at its limit."""
    decoder = SseDecoder(max_line=100)
    decoder.feed(b"data: " + b"x" * 90)
    with pytest.raises(SseLimitExceeded, match="a line of the event stream is longer than 100 bytes"):
        decoder.feed(b"x" * 10)


def test_bounds_an_event() -> None:
    """An event of many lines is given up at its limit."""
    decoder = SseDecoder(max_event=100)
    with pytest.raises(SseLimitExceeded, match="an event of the stream is larger than 100 bytes"):
        decoder.feed(b"data: 0123456789\n" * 10)


def test_what_was_whole_before_a_limit_is_heard() -> None:
    """Events that came in the same read as a line that is too long are not lost with it."""
    with pytest.raises(SseLimitExceeded) as caught:
        SseDecoder(max_line=10).feed(b"data: a\n\ndata: b\n\n" + b"x" * 11)
    assert [b"a", b"b"] == [event.data for event in caught.value.events]


@pytest.mark.parametrize(
    ("read", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [("message", b"a"), ("message", b"b")]),
        (b"data: a\n\nevent: e\ndata: b\n\n", [("message", b"a"), ("e", b"b")]),
        (b"data: a\ndata: b\n\n", [("message", b"a\nb")]),
        (b"data: a\n\n: ping\n\n", [("message", b"a")]),
        (b"data: a\n\n\n\n", [("message", b"a")]),
        (b"data: \n\n", [("message", b"")]),
        (b"data: a\r\n\r\ndata: b\n\n", [("message", b"a"), ("message", b"b")]),
    ],
)
def test_whole_events_in_one_read(read: bytes, events: list[tuple[str, bytes]]) -> None:
    """A read of nothing but whole events, the usual one, is read no differently from any other."""
    assert [("message", b"x"), *events] == decode(b"data: x\n\n", read)
