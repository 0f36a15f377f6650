"""The event-stream decoder (WHATWG HTML, section 9.2.6), for any split of the bytes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcanary.client.core.decoding.sse import SseDecoder, SseLimitExceeded
from streamcanary.client.core.limits import Limits


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
def test_decodes_every_construct(stream: bytes, events: list[tuple[str, bytes]]) -> None:
    """Every construct of the format decodes to the events that the specification defines."""
    assert events == decode(stream)


SAMPLE = b"\xef\xbb\xbfevent: e\r\ndata: one\r\n\r\n: c\rdata: two\rdata: three\r\rdata: f\xc3\xbcnf\n\n"


@given(st.lists(st.integers(0, len(SAMPLE)), max_size=12))
def test_any_split_gives_the_same_events(cuts: list[int]) -> None:
    """The split does not change the events, even within a CRLF, a byte order mark or a character."""
    edges = [0, *sorted(cuts), len(SAMPLE)]
    pieces = [SAMPLE[start:end] for start, end in pairwise(edges)]
    assert decode(SAMPLE) == decode(*pieces)


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_are_accepted(pieces: list[bytes]) -> None:
    """The decoder accepts any bytes, and the split does not change the events."""
    assert decode(b"".join(pieces)) == decode(*pieces)


def test_line_is_bounded() -> None:
    """A line longer than the limit raises SseLimitExceeded."""
    decoder = SseDecoder(Limits(max_line_bytes=100))
    decoder.feed(b"data: " + b"x" * 90)
    with pytest.raises(
        SseLimitExceeded,
        match="a line of the event stream has more than 100 bytes; if it is expected, raise max_line_bytes",
    ):
        decoder.feed(b"x" * 10)


def test_event_is_bounded() -> None:
    """An event of many lines that exceeds the limit raises SseLimitExceeded."""
    decoder = SseDecoder(Limits(max_event_bytes=100))
    with pytest.raises(
        SseLimitExceeded,
        match="an event of the stream has more than 100 bytes; if it is expected, raise max_event_bytes",
    ):
        decoder.feed(b"data: 0123456789\n" * 10)


def test_events_before_a_limit_are_kept() -> None:
    """The exception carries the complete events that arrived in the same read as an oversized line."""
    with pytest.raises(SseLimitExceeded) as caught:
        SseDecoder(Limits(max_line_bytes=10)).feed(b"data: a\n\ndata: b\n\n" + b"x" * 11)
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
def test_read_of_complete_events_decodes_the_same(read: bytes, events: list[tuple[str, bytes]]) -> None:
    """A read that contains only complete events gives the same events as any other read."""
    assert [("message", b"x"), *events] == decode(b"data: x\n\n", read)
