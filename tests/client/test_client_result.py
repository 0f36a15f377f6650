"""A result as an SDK response object."""

import pytest

from streamcanary import StreamResult


@pytest.mark.parametrize(
    "oddity",
    [b'"\xff": 1', b'"x": "\xff"', b'"x": "\\ud800"', b'"x": NaN', b'"x": ' + b"9" * 5000],
    ids=["no UTF-8 in a name", "no UTF-8 in a value", "half a character", "no number", "no end of digits"],
)
def test_invalid_unused_field_does_not_break_the_response(oddity: bytes) -> None:
    """An unused field may hold any bytes: the response object is still available."""
    raw = b'{"id": "resp_1", "object": "response", "status": "completed", "output": [], ' + oddity + b"}"
    assert "resp_1" == StreamResult(text="Hi", api="responses", raw=raw).response.id
