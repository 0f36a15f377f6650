"""The limit on failed logins."""

from streamcanary.web.login_limit import MAX_FAILURES, MAX_PEERS, RECOVERY, LoginLimit
from support.clock import ManualClock


def failed(limit: LoginLimit, peer: str, times: int = MAX_FAILURES) -> LoginLimit:
    """Let ``peer`` fail."""
    for _ in range(times):
        limit.record_failure(peer)
    return limit


def test_a_peer_waits_after_its_failures_others_do_not() -> None:
    """Each failure beyond the limit takes half a minute."""
    limit = failed(LoginLimit(ManualClock()), "1.2.3.4", MAX_FAILURES - 1)
    assert 0 == limit.wait("1.2.3.4")
    limit.record_failure("1.2.3.4")
    assert (30, 0) == (limit.wait("1.2.3.4"), limit.wait("1.2.3.5"))


def test_time_gives_tries_back_one_by_one() -> None:
    """After half a minute there is one try, and after five minutes all ten."""
    clock = ManualClock()
    limit = failed(LoginLimit(clock), "p")
    clock.advance(RECOVERY)
    assert 0 == limit.wait("p")
    limit.record_failure("p")
    assert RECOVERY == limit.wait("p")
    clock.advance(MAX_FAILURES * RECOVERY)
    assert 0 == failed(limit, "p", MAX_FAILURES - 1).wait("p")


def test_a_login_forgets_the_failures() -> None:
    """Whoever has the token starts anew."""
    limit = failed(LoginLimit(ManualClock()), "p")
    limit.record_success("p")
    assert 0 == limit.wait("p")


def test_a_bounded_number_of_peers_is_remembered() -> None:
    """The one that failed least recently is forgotten."""
    limit = failed(LoginLimit(ManualClock()), "first")
    for number in range(MAX_PEERS - 1):
        limit.record_failure(str(number))
    assert RECOVERY == limit.wait("first")
    limit.record_failure("one more")
    assert 0 == limit.wait("first")
