"""Deprecation and sunset are read from the headers of a response."""

import pytest

from streamcanary.client.core.response_headers.retirement import retirement_of
from streamcanary.model.outcome import Retirement

SUNSET = 1_924_991_999.0
"""2030-12-31 23:59:59 UTC."""


@pytest.mark.parametrize(
    ("headers", "retirement"),
    [
        ({"deprecation": "@1688169599"}, Retirement(deprecation=1_688_169_599.0)),
        ({"sunset": "Tue, 31 Dec 2030 23:59:59 GMT"}, Retirement(sunset=SUNSET)),
        (
            {"deprecation": "@1688169599", "sunset": "Tue, 31 Dec 2030 23:59:59 GMT"},
            Retirement(deprecation=1_688_169_599.0, sunset=SUNSET),
        ),
        ({"deprecation": "Tue, 31 Dec 2030 23:59:59 GMT"}, Retirement(deprecation=SUNSET)),
        ({"deprecation": "true"}, Retirement()),
        ({"deprecation": "?1"}, Retirement()),
    ],
)
def test_an_announced_retirement_is_read(headers: dict[str, str], retirement: Retirement) -> None:
    """RFC 9745, the drafts before it, and RFC 8594 are read."""
    assert retirement == retirement_of(headers)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "false",
        "@-1",
        "@0",
        "@99999999999",
        "@" + "1" * 1_000_000,
        "@1688169599, @1688169599",
        "2030-12-31",
        "Tue, 99 Dec 2030 23:59:59 GMT",
        "Tue, 31 Dec 2030 99:99:99 GMT",
        "Tue, 31 Dec 9999 23:59:59 GMT",
        "x" * 1_000_000,
    ],
)
def test_a_value_that_is_no_date_is_ignored(value: str) -> None:
    """Invalid, repeated and absurd dates announce nothing."""
    assert None is retirement_of({"deprecation": value, "sunset": value})
