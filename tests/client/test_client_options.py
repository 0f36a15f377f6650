"""What both clients are set up with, and what those that ``with_options`` makes of them share."""

import inspect
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from streamcanary import AsyncStreamClient, Cached, RetryPolicy, StreamClient, Timeouts
from support.client.drivers import DRIVERS, KEY, Driver


def make(driver: Driver, **options: Any) -> AsyncStreamClient | StreamClient:
    if driver == "async":
        return AsyncStreamClient(AsyncOpenAI(api_key=KEY), **options)
    return StreamClient(OpenAI(api_key=KEY), **options)


def test_both_clients_take_the_same_options() -> None:
    """The names and defaults of the options do not differ between the two."""
    asynchronous, blocking = (inspect.signature(each).parameters for each in (AsyncStreamClient, StreamClient))
    assert dict(asynchronous) == dict(blocking)


@pytest.mark.parametrize("driver", DRIVERS)
def test_with_options_gives_a_client_of_the_same_kind(driver: Driver) -> None:
    """What comes of it is of the same class, and streams as that one does."""
    client = make(driver)
    other = client.with_options(timeouts=Timeouts(stall=1))
    asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
    assert (type(client), type(client.stream(**asked))) == (type(other), type(other.stream(**asked)))


@pytest.mark.parametrize("driver", DRIVERS)
def test_with_options_leaves_the_client_as_it_was(driver: Driver) -> None:
    """Only the new client differs; budget, breakers, instruments and an answer cache are the very same ones."""
    client = make(driver, fallbacks=[Cached()], retry=RetryPolicy(max_attempts=2))
    other = client.with_options(retry=RetryPolicy(max_attempts=5), fallbacks=[], lenient=True)
    ours, theirs = client._routes.options, other._routes.options
    assert (2, 1, False) == (ours.retry.max_attempts, len(ours.fallbacks), ours.lenient)
    assert (5, 0, True) == (theirs.retry.max_attempts, len(theirs.fallbacks), theirs.lenient)
    shared = ("budget", "breakers", "instruments", "cache")
    assert [id(getattr(ours, name)) for name in shared] == [id(getattr(theirs, name)) for name in shared]


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_option_that_is_shared_cannot_be_changed(driver: Driver) -> None:
    """A budget of its own would not be the one that bounds the retries of all: that is refused by name."""
    with pytest.raises(TypeError, match="budget"):
        make(driver).with_options(budget=None)  # type: ignore[call-arg] # on purpose


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("late", [False, True])
def test_an_unknown_way_to_treat_partial_answers_is_refused(driver: Driver, late: bool) -> None:
    """At once, in the constructor and in ``with_options`` alike, with the ways that there are."""
    with pytest.raises(TypeError, match='on_partial must be "restart", "fail" or "buffer", not \'resume\''):
        make(driver).with_options(on_partial="resume") if late else make(driver, on_partial="resume")
