"""Test that a timeout does not count the time in which the process itself was late."""

from streamcanary.client.core.deadline_extension import DeadlineExtension, no_lag


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
