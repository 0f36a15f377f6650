"""Options of both clients, and what clients from ``with_options`` share."""

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


def test_both_clients_have_the_same_options() -> None:
    """The names and defaults of the options are the same for both clients."""
    asynchronous, blocking = (inspect.signature(each).parameters for each in (AsyncStreamClient, StreamClient))
    assert dict(asynchronous) == dict(blocking)


@pytest.mark.parametrize("driver", DRIVERS)
def test_with_options_returns_the_same_class(driver: Driver) -> None:
    """``with_options`` returns a client of the same class with the same stream class."""
    client = make(driver)
    other = client.with_options(timeouts=Timeouts(stall=1))
    request: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
    assert (type(client), type(client.stream(**request))) == (type(other), type(other.stream(**request)))


@pytest.mark.parametrize("driver", DRIVERS)
def test_with_options_does_not_modify_the_client(driver: Driver) -> None:
    """The original client is unchanged, and both share budget, breakers, instruments and answer cache."""
    client = make(driver, fallbacks=[Cached()], retry=RetryPolicy(max_attempts=2))
    other = client.with_options(retry=RetryPolicy(max_attempts=5), fallbacks=[], lenient=True)
    original, changed = client._routes.options, other._routes.options
    assert (2, 1, False) == (original.retry.max_attempts, len(original.fallbacks), original.lenient)
    assert (5, 0, True) == (changed.retry.max_attempts, len(changed.fallbacks), changed.lenient)
    shared = ("budget", "breakers", "instruments", "cache")
    assert [id(getattr(original, name)) for name in shared] == [id(getattr(changed, name)) for name in shared]


@pytest.mark.parametrize("driver", DRIVERS)
def test_with_options_rejects_shared_options(driver: Driver) -> None:
    """``with_options`` rejects ``budget``, because the budget bounds the retries of all derived clients."""
    with pytest.raises(TypeError, match="budget"):
        make(driver).with_options(budget=None)  # type: ignore[call-arg] # intentional


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("late", [False, True])
def test_unknown_on_partial_is_rejected(driver: Driver, late: bool) -> None:
    """The constructor and ``with_options`` reject an unknown on_partial and name the valid values."""
    with pytest.raises(TypeError, match='on_partial must be "restart", "fail" or "buffer", not \'resume\''):
        make(driver).with_options(on_partial="resume") if late else make(driver, on_partial="resume")
