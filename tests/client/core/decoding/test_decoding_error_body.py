"""The body of an error response, as far as it was read."""

from typing import Any

import pytest

from streamcanary.client.core.decoding.error_body import MAX_ERROR_BODY_BYTES, ErrorBody, parse_error_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"error": {"message": "no"}}', {"error": {"message": "no"}}),
        (
            '{"error": {"message": "no", "code": "c", "rest": "xxx',
            {"error": {"message": "no", "code": "c", "rest": "xxx"}},
        ),
        ('{"error": {"message": "the quota is us', {"error": {"message": "the quota is us"}}),
        ('{"error": {"message": "no \\u00', {"error": {"message": "no "}}),
        ('{"error": {"message": "no \\', {"error": {"message": "no "}}),
        ('{"error": {"message": "no", "param', {"error": {"message": "no"}}),
        ('{"error": {"message": "no", "param":', {"error": {"message": "no"}}),
        ('{"error": {"message": "no", "code": tru', {"error": {"message": "no"}}),
        ('[{"error": {"message": "a, {b}"}}, {"error"', [{"error": {"message": "a, {b}"}}, {}]),
        ('{"message": "no", "value": -Infinity}', {"message": "no", "value": float("-inf")}),
        ("[error] overloaded", "[error] overloaded"),
        ("{overloaded}", "{overloaded}"),
        ("<html>", "<html>"),
        ("", ""),
        ('{"a": ' * 40, '{"a": ' * 40),
        ('{"n": %s}' % ("9" * 5000), '{"n": %s}' % ("9" * 5000)),
    ],
)
def test_text_is_parsed_as_far_as_it_was_read(text: str, value: Any) -> None:
    """JSON that was cut off gives its complete members and the beginning of its last text; other text stays text."""
    assert value == parse_error_text(text)


@pytest.mark.parametrize(
    ("content_type", "data", "text"),
    [
        ("text/plain; charset=ISO-8859-1", b"\xfcber", "über"),
        ("text/plain; charset=utf-8", b"\xc3\xbcber", "über"),
        ("text/plain", b"\xfcber", "�ber"),
        ("text/plain; charset=idna", b"plain", "plain"),
        ("text/plain; charset=", b"plain", "plain"),
    ],
)
def test_text_is_decoded_with_its_charset(content_type: str, data: bytes, text: str) -> None:
    """The usual character sets are known; every other one is read as UTF-8."""
    body = ErrorBody({"content-type": content_type}, None)
    body.feed(data)
    assert text == body.parse()


def test_body_is_full_at_its_limit() -> None:
    """No more than the limit is kept, whatever the size of a piece."""
    body = ErrorBody({}, None)
    wanted = [body.feed(b"x" * (MAX_ERROR_BODY_BYTES - 1)), body.feed(b"xyz"), body.feed(b"xyz")]
    assert ([True, False, False], "x" * MAX_ERROR_BODY_BYTES) == (wanted, body.parse())
