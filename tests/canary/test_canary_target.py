"""The address of a target: what is wrong with one, and what would be right."""

import pytest
from pydantic import ValidationError

from streamcanary.canary.target import TargetSpec

SCHEME = "must start with http:// or https://, such as https://api.openai.com/v1"
HOST = "has no host; write it like https://api.openai.com/v1"
PORT = "must have a port from 1 to 65535, or none"


@pytest.mark.parametrize(
    ("base_url", "says"),
    [
        ("ftp://api.example/v1", SCHEME),
        ("api.example/v1", SCHEME),
        ("localhost:8000/v1", SCHEME),
        ("http:///v1", HOST),
        ("http://:8000/v1", HOST),
        ("http://[::1/v1", HOST),
        ("http://api.example:99999/v1", f"{PORT}, not 99999"),
        ("http://api.example:0/v1", f"{PORT}, not 0"),
        ("http://api.example:port/v1", PORT),
        ("http://api.example:5up3rs3cr3t/v1", PORT),
        ("http://user:5up3rs3cr3t@api.example/v1", "must not contain a user name or password; use api_key or headers"),
    ],
)
def test_an_address_that_is_none(base_url: str, says: str) -> None:
    """The message names the part that is wrong, and shows no more of it than a number."""
    with pytest.raises(ValidationError) as caught:
        TargetSpec.model_validate({"base_url": base_url, "api_key": "none"})
    assert [f"Value error, {says}"] == [error["msg"] for error in caught.value.errors()]


@pytest.mark.parametrize("base_url", ["http://localhost:8000/v1/", "HTTPS://api.example", "http://[::1]:1/v1"])
def test_an_address_that_can_be_asked(base_url: str) -> None:
    """It is taken as it is, but for a slash at its end."""
    target = TargetSpec.model_validate({"base_url": base_url, "api_key": "none"})
    assert base_url.rstrip("/") == target.base_url
