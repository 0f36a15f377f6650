"""Deprecation and sunset are read from the headers of a response."""

import pytest

from streamcanary.client.core.response_headers.retirement import retirement_of
from streamcanary.model.outcome import Retirement

SUNSET = 1_924_991_999.0
"""2030-12-31 23:59:59 UTC."""


@pytest.mark.parametrize(
    ("headers", "retirement"),
    [
        ({"deprecation": "@1688169599"}, Retirement(is_deprecated=True, deprecation=1_688_169_599.0)),
        ({"sunset": "Tue, 31 Dec 2030 23:59:59 GMT"}, Retirement(sunset=SUNSET)),
        (
            {"deprecation": "@1688169599", "sunset": "Tue, 31 Dec 2030 23:59:59 GMT"},
            Retirement(is_deprecated=True, deprecation=1_688_169_599.0, sunset=SUNSET),
        ),
        ({"deprecation": "Tue, 31 Dec 2030 23:59:59 GMT"}, Retirement(is_deprecated=True, deprecation=SUNSET)),
        ({"deprecation": "true"}, Retirement(is_deprecated=True)),
        ({"deprecation": "?1"}, Retirement(is_deprecated=True)),
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
        "2030-13-31",
        "2030-12",
        "Tue, 99 Dec 2030 23:59:59 GMT",
        "Tue, 31 Dec 2030 99:99:99 GMT",
        "Tue, 31 Dec 9999 23:59:59 GMT",
        "x" * 1_000_000,
    ],
)
def test_a_value_that_is_no_date_is_ignored(value: str) -> None:
    """Invalid, repeated and absurd dates announce nothing."""
    assert None is retirement_of({"deprecation": value, "sunset": value})


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2030-12-31", SUNSET - 86_399),
        ("2030-12-31T23:59:59Z", SUNSET),
        ("2030-12-31t23:59:59z", SUNSET),
        ("2031-01-01T00:59:59+01:00", SUNSET),
        ("2030-12-31T23:59:59", SUNSET),
        ("1924991999", SUNSET),
        ("1924991999000", SUNSET),
        ("@1924991999;x=1", SUNSET),
        ("Tue, 1 Jan 2030 00:00:00 GMT", 1_893_456_000.0),
    ],
)
def test_dates_of_other_forms_are_read(value: str, time: float) -> None:
    """Servers send dates of ISO 8601, RFC 3339, the epoch, with parameters, or with a day of one digit."""
    assert Retirement(deprecation=time, sunset=time, is_deprecated=True) == retirement_of(
        {"deprecation": value, "sunset": value}
    )


def test_a_deprecation_without_a_date_beside_a_sunset() -> None:
    """``Deprecation: true`` is kept when the sunset has a date."""
    headers = {"deprecation": "true", "sunset": "2030-12-31"}
    assert Retirement(sunset=SUNSET - 86_399, is_deprecated=True) == retirement_of(headers)
