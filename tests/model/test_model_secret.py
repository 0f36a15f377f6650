"""Secrets of the configuration."""

import os
from pathlib import Path

import jsonschema
import pytest
from pydantic import TypeAdapter

from streamcanary.model.config_types.secret import Secret, SecretUnreadable


def test_secret_is_masked() -> None:
    """Neither str nor repr nor format shows the secret."""
    secret = Secret("hunter2hunter2")
    assert ("[redacted]", "Secret('[redacted]')", "[redacted]") == (str(secret), repr(secret), f"{secret}")
    assert "hunter2hunter2" == secret.reveal()


def test_changed_secret_file_is_read_again(tmp_path: Path) -> None:
    """A rotated secret file is used from the next call."""
    path = tmp_path / "key"
    path.write_text("first\n")
    secret = Secret(path=path)
    before = secret.reveal()
    (tmp_path / "new").write_text("second\n")
    (tmp_path / "new").replace(path)
    assert ("first", "second") == (before, secret.reveal())


@pytest.mark.timeout(10)
def test_named_pipe_is_rejected(tmp_path: Path) -> None:
    """A named pipe is rejected, because opening one would block every canary."""
    os.mkfifo(tmp_path / "key")
    with pytest.raises(SecretUnreadable, match="key: it is not a regular file"):
        Secret(path=tmp_path / "key").reveal()


def test_schema_accepts_text_or_file() -> None:
    """The JSON schema accepts the same forms as the configuration."""
    validator = jsonschema.Draft7Validator(TypeAdapter(Secret).json_schema())
    for value, is_valid in (("sk-1", True), ({"file": "/secrets/key"}, True), ("", False), (5, False), ({}, False)):
        assert is_valid is validator.is_valid(value), value


@pytest.mark.parametrize(("content", "message"), [(None, "cannot read"), (b"", "is empty"), (b"\xff", "not UTF-8")])
def test_unusable_secret_file_is_reported(tmp_path: Path, content: bytes | None, message: str) -> None:
    """The message contains the file and the reason."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SecretUnreadable, match=message) as caught:
        Secret(path=path).reveal()
    assert str(path) in str(caught.value)
