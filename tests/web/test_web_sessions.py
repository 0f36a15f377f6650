"""Sessions of browsers: a signed cookie in place of the bearer token."""

import pytest

from streamcanary.web.sessions import SESSION_LIFETIME, create_session, read_session

TOKEN, NOON = "0123456789abcdef", 1_800_000_000.0


def test_a_session_is_valid_until_its_end() -> None:
    """The cookie of a login is accepted for twelve hours."""
    cookie, session = create_session(TOKEN, NOON)
    assert session == read_session(cookie, TOKEN, NOON)
    assert session == read_session(cookie, TOKEN, NOON + SESSION_LIFETIME - 1)
    assert read_session(cookie, TOKEN, NOON + SESSION_LIFETIME) is None


def test_a_session_ends_when_the_token_changes() -> None:
    """The signature depends on the token: a new token logs everyone out."""
    cookie, _ = create_session(TOKEN, NOON)
    assert read_session(cookie, TOKEN + "0", NOON) is None


def test_each_session_has_another_csrf_token() -> None:
    """A form of one session is worth nothing in another."""
    assert create_session(TOKEN, NOON)[1].csrf != create_session(TOKEN, NOON)[1].csrf


@pytest.mark.parametrize(
    "cookie", [None, "", ".", "..", "9999999999.x.", "a" * 300, "1.2.3", "é.ü.\ud800", "1800000001.0.0"]
)
def test_a_forged_cookie_is_no_session(cookie: str | None) -> None:
    """Whatever a client sends as cookie, only a signed one is a session."""
    assert read_session(cookie, TOKEN, NOON) is None


@pytest.mark.parametrize("position", [0, 5, 14, 40, 60, -1])
def test_a_cookie_with_one_other_character_is_no_session(position: int) -> None:
    """The signature covers the end and the id."""
    cookie, _ = create_session(TOKEN, NOON)
    changed = list(cookie)
    changed[position] = "0" if changed[position] != "0" else "1"
    assert read_session("".join(changed), TOKEN, NOON) is None


def test_a_session_that_would_last_longer_than_a_login_allows_is_none() -> None:
    """After the clock was set back, a session does not last longer than a new one would."""
    cookie, _ = create_session(TOKEN, NOON)
    assert read_session(cookie, TOKEN, NOON - 3600) is None
