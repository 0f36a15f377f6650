"""Secrets, and the scrubbing of text from outside."""

import os
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from streamcanary.model.config_types.secret import Secret, SecretUnreadable, printable, scrub


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
    assert TypeAdapter(Secret).json_schema() == {
        "anyOf": [
            {"type": "string", "writeOnly": True},
            {
                "type": "object",
                "properties": {"file": {"type": "string", "format": "path"}},
                "required": ["file"],
                "additionalProperties": False,
            },
        ]
    }


@pytest.mark.parametrize(("content", "message"), [(None, "cannot read"), (b"", "is empty"), (b"\xff", "not UTF-8")])
def test_unusable_secret_file_is_reported(tmp_path: Path, content: bytes | None, message: str) -> None:
    """The message contains the file and the reason."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SecretUnreadable, match=message) as caught:
        Secret(path=path).reveal()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Incorrect API key: sk-abcdefghijklmnop.", "Incorrect API key: [redacted]"),
        ("my-key was given", "[redacted] was given"),
        ("Authorization: Bearer abcdefghijkl", "Authorization: Bearer [redacted]"),
        ("https://hooks.slack.com/services/T0/B0/xyz", "https://hooks.slack.com/services/[redacted]"),
        ("a\x1b[31mred\x00", "a [31mred"),
        ("a\nb\r\nc\td\x0be\x0cf\x1cg\x85h\u2028i\u2029j", "a b c d e f g h i j"),
        ("left\u202eright\u2066x\u200fy\ufeffz", "left right x y z"),
        ("GET /v1?api_key=s3cretvalue&x=1 failed", "GET /v1?api_key=[redacted]&x=1 failed"),
        ("?x=1&token=s3cret, and", "?x=1&token=[redacted], and"),
        ("?X-Amz-Signature=ab12&X-Amz-Credential=AK/1", "?X-Amz-Signature=[redacted]&X-Amz-Credential=[redacted]"),
        ("https://h/?KEY=abc#here", "https://h/?KEY=[redacted]"),
        ("q%3Fpassword%3Ds3cret%26x", "q%3Fpassword%3D[redacted]"),
        ("signature='s3cret'", "signature=[redacted]'"),
        ("https://name:s3cret@host/path", "https://[redacted]@host/path"),
        ("max_tokens=5&model=a=b", "max_tokens=5&model=a=b"),
        ("mail a@b.example about https://host/a@b", "mail a@b.example about https://host/a@b"),
        ("x" * 600, "x" * 499 + "…"),
        ("plain", "plain"),
    ],
)
def test_scrub_removes_secrets_and_control_characters(text: str, shown: str) -> None:
    """Known and key-like secrets, control characters and excess length are removed; other text stays."""
    assert shown == scrub(text, ["my-key", "abc"])


def test_scrub_finds_encoded_secrets() -> None:
    """A secret is removed also when it is percent-encoded, JSON-escaped, or split by truncation."""
    secret = 'p@ss"word/with ümlaut'
    assert "a [redacted] b [redacted] c" == scrub(
        'a p%40ss%22word%2Fwith%20%C3%BCmlaut b p@ss\\"word/with \\u00fcmlaut c', [secret]
    )
    long = "x" * 1100
    assert "[redacted]" * 7 == scrub(long * 8, [long])


def test_scrub_replaces_lone_surrogates() -> None:
    """A lone surrogate, which would break log lines, spans and notifications, is replaced."""
    assert "a?b" == scrub("a\ud800b")


def test_scrub_finds_single_lines_of_a_secret() -> None:
    """A single line of a multi-line secret is removed."""
    assert "bad header [redacted]" == scrub("bad header second-line", ["first-line\nsecond-line"])


def test_scrub_accepts_secret_with_surrogate() -> None:
    """A secret that UTF-8 cannot encode is removed without an error."""
    assert "a [redacted] b" == scrub("a ke\ud800y! b", ["ke\ud800y!"])


def test_lines_option_keeps_newlines_and_tabs() -> None:
    """With ``lines=True`` only newlines and tabs are kept."""
    assert "a\nb\tc d e" == scrub("a\nb\tc\rd\x1be", lines=True)
    assert "a\nb\tc d" == printable("a\nb\tc\u2028d", lines=True)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece", ["key=", "://", "://a", "a", "=", "%3d", "token", "&token=", "sk-", "Bearer ", "\x00", "?api_", "://a:b"]
)
def test_scrub_takes_linear_time(piece: str) -> None:
    """Scrubbing takes time linear in the text for any repeated pattern."""
    text = piece * (2_000_000 // len(piece))
    assert 100_000 >= len(scrub(text, limit=100_000))
