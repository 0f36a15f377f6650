"""The base URL of a target: valid and invalid ones."""

import pytest
from pydantic import ValidationError

from streamcanary.canary.targets.target import TargetSpec

SCHEME = "must start with http:// or https://, such as https://api.openai.com/v1"
HOST = "has no host; write it like https://api.openai.com/v1"
PORT = "must have a port from 1 to 65535, or none"


@pytest.mark.parametrize(
    ("base_url", "message"),
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
def test_an_invalid_base_url_is_rejected(base_url: str, message: str) -> None:
    """The message names the invalid part, and repeats nothing of it except a port number."""
    with pytest.raises(ValidationError) as caught:
        TargetSpec.model_validate({"base_url": base_url, "api_key": "none"})
    assert [f"Value error, {message}"] == [error["msg"] for error in caught.value.errors()]


@pytest.mark.parametrize("base_url", ["http://localhost:8000/v1/", "HTTPS://api.example", "http://[::1]:1/v1"])
def test_a_valid_base_url_is_kept(base_url: str) -> None:
    """A valid base URL is kept, except for a slash at its end."""
    target = TargetSpec.model_validate({"base_url": base_url, "api_key": "none"})
    assert base_url.rstrip("/") == target.base_url
