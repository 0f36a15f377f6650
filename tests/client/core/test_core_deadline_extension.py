"""Test that a timeout does not count the time in which the process itself was late."""

from streamcanary.client.core.deadline_extension import DeadlineExtension, lag_at_deadline, no_lag
from streamcanary.model.lag import explains_excess


def lag_of(seconds: float):
    """Return a lag of ``seconds``, whenever it is asked for."""
    return lambda _start: seconds


def test_timeout_of_a_process_on_time_is_not_extended() -> None:
    """Without lag, or with less than 0.25 s or a tenth of the timeout, a timeout ends at its deadline."""
    extension = DeadlineExtension()
    assert [False, False, False] == [
        extension.extend(100.0, 2.0, 100.0, no_lag),
        extension.extend(100.0, 2.0, 100.0, lag_of(0.24)),
        extension.extend(100.0, 10.0, 100.0, lag_of(0.9)),
    ]
    assert 100.0 == extension.apply(100.0)
    assert extension.explaining_lag(100.0, 2.0, lag_of(0.24)) is None


def test_timeout_is_extended_by_the_lag() -> None:
    """A timeout that passed while the process was late continues for as long as the lag, from now on."""
    extension = DeadlineExtension()
    assert extension.extend(100.0, 2.0, 100.5, lag_of(0.5))
    assert (101.0, 103.0) == (extension.apply(100.0), extension.apply(103.0))


def test_provider_is_blamed_after_an_extension_on_time() -> None:
    """If the process was on time during the extension, lag does not explain the timeout: not even a long one."""
    extension = DeadlineExtension()
    assert extension.extend(100.0, 2.0, 130.0, lag_of(30.0))
    assert 132.0 == extension.apply(100.0)
    assert not extension.extend(100.0, 2.0, 132.0, no_lag)
    assert extension.explaining_lag(100.0, 2.0, no_lag) is None


def test_lag_explains_a_timeout_that_is_twice_as_long() -> None:
    """A process that stays late extends a timeout to twice its length; then nothing is known about the provider."""
    extension, now, count = DeadlineExtension(), 100.0, 0
    while extension.extend(100.0, 2.0, now, lag_of(0.5)):
        now, count = extension.apply(100.0), count + 1
    assert (4, 102.0) == (count, now)
    assert 2.5 == extension.explaining_lag(100.0, 2.0, lag_of(0.5))


def test_each_timeout_is_extended_by_itself() -> None:
    """A later deadline, after a token, has extensions of its own."""
    extension = DeadlineExtension()
    assert extension.extend(100.0, 2.0, 100.5, lag_of(1.9))
    assert extension.extend(110.0, 2.0, 110.0, lag_of(1.9))
    assert (100.0, 111.9) == (extension.apply(100.0), extension.apply(110.0))


def delays(*each: tuple[float, float]):
    """Return the lag of a process with delays, each of an end and of seconds."""
    return lambda start: sum(min(seconds, end - start) for end, seconds in each if end > start)


def is_excused(*each: tuple[float, float], sent: float | None = 100.05) -> bool:
    """Return whether delays explain a total timeout of 4 s that ends at 104."""
    return explains_excess(lag_at_deadline(4.0, 104.0, delays(*each), started=100.0, sent=sent), 4.0)


def test_small_delays_do_not_excuse_a_silent_provider() -> None:
    """Delays of 0.15 s once a second hide at most the last 0.15 s before the total timeout."""
    assert not is_excused((100.9, 0.15), (101.9, 0.15), (102.9, 0.15), (103.9, 0.15))


def test_delay_long_before_the_deadline_does_not_excuse() -> None:
    """After a delay everything that has arrived is read, so it does not explain a timeout two seconds later."""
    assert not is_excused((102.0, 1.5))


def test_delay_at_the_deadline_excuses() -> None:
    """What arrived shortly before the total timeout may not have been read."""
    assert is_excused((104.0, 0.5))
    assert is_excused((103.6, 0.2), (104.0, 0.2))


def test_delay_before_the_request_was_sent_excuses() -> None:
    """A request that this process has sent late leaves the provider less time."""
    assert is_excused((100.6, 0.55), sent=100.7)
    assert is_excused((101.0, 0.25), (102.0, 0.25), sent=None)
