"""Prices of tokens."""

import socket
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from streamcanary.canary.spend.prices import FREE, Price
from streamcanary.canary.targets.target import TargetSpec


def target(**values: Any) -> TargetSpec:
    return TargetSpec.model_validate({"api_key": "sk-x", **values})


def test_a_configured_price_is_used() -> None:
    """A configured price applies to any model of the target."""
    assert Price(input=0.15, output=0.6) == target(price={"input": 0.15, "output": 0.60}).price_of("sim-ok")
    assert FREE == target(price="free").price_of("sim-ok")


def test_list_prices_are_looked_up_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """List prices are looked up by URL or provider, also for dated models, without network access."""

    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    mini = Price(input=0.15, output=0.6)
    assert [mini, mini, mini] == [
        target().price_of("gpt-4o-mini"),
        target(base_url="https://api.openai.com/v1", provider="gateway").price_of("gpt-4o-mini-2024-07-18"),
        target(base_url="http://127.0.0.1:8080/v1", provider="openai").price_of("gpt-4o-mini"),
    ]


def test_an_unknown_price_is_none() -> None:
    """A model or provider without a list price has the price ``None``."""
    assert [None, None] == [
        target(base_url="http://127.0.0.1:8080/v1", provider="own").price_of("gpt-4o-mini"),
        target().price_of("sim-ok"),
    ]


def test_the_price_table_is_loaded_only_for_a_lookup() -> None:
    """A configured price does not load the table of list prices."""
    program = (
        "import sys\n"
        "from streamcanary.canary.targets.target import TargetSpec\n"
        "TargetSpec(api_key='sk-x', price='free').price_of('m')\n"
        "print('genai_prices' in sys.modules)\n"
        "TargetSpec(api_key='sk-x').price_of('m')\n"
        "print('genai_prices' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ["False", "True"] == done.stdout.split()


@pytest.mark.parametrize(
    ("price", "place", "message"),
    [
        ("cheap", "price", "must be auto, free, or USD per million tokens such as {input: 0.15, output: 0.60}"),
        (3, "price", "must be auto, free, or USD per million tokens"),
        ({"input": 1}, "output", "Field required"),
        ({"input": -1, "output": 1}, "input", "greater than or equal to 0"),
        ({"input": float("nan"), "output": 1}, "input", "finite number"),
        ({"input": 1, "output": 1, "cached": 1}, "cached", "Extra inputs are not permitted"),
    ],
)
def test_an_invalid_price_is_rejected(price: Any, place: str, message: str) -> None:
    """An invalid price is a config error at its key."""
    with pytest.raises(ValidationError) as caught:
        target(price=price)
    (error,) = caught.value.errors()
    assert (True, True) == (place in error["loc"], message in error["msg"])
