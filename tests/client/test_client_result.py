"""A result as the SDK's own object."""

import pytest

from streamcanary import StreamResult


@pytest.mark.parametrize(
    "oddity",
    [b'"\xff": 1', b'"x": "\xff"', b'"x": "\\ud800"', b'"x": NaN', b'"x": ' + b"9" * 5000],
    ids=["no UTF-8 in a name", "no UTF-8 in a value", "half a character", "no number", "no end of digits"],
)
def test_what_nobody_reads_is_in_nobodys_way(oddity: bytes) -> None:
    """A field that means nothing to us may hold what it likes: the whole response can still be had."""
    raw = b'{"id": "resp_1", "object": "response", "status": "completed", "output": [], ' + oddity + b"}"
    assert "resp_1" == StreamResult(text="Hi", api="responses", raw=raw).response.id
