"""Secrets, and the scrubbing of foreign text."""

import os
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from streamcanary.model.config_types.secret import Secret, SecretUnreadable, printable, scrub


def test_shows_a_mask() -> None:
    """Neither str nor repr nor a format shows the secret."""
    secret = Secret("hunter2hunter2")
    assert ("[redacted]", "Secret('[redacted]')", "[redacted]") == (str(secret), repr(secret), f"{secret}")
    assert "hunter2hunter2" == secret.reveal()


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """A rotated key is used from the next call on."""
    path = tmp_path / "key"
    path.write_text("first\n")
    secret = Secret(path=path)
    before = secret.reveal()
    (tmp_path / "new").write_text("second\n")
    (tmp_path / "new").replace(path)
    assert ("first", "second") == (before, secret.reveal())


@pytest.mark.timeout(10)
def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    """To open one would wait for somebody to write into it, and hold up every canary."""
    os.mkfifo(tmp_path / "key")
    with pytest.raises(SecretUnreadable, match="key: it is not a regular file"):
        Secret(path=tmp_path / "key").reveal()


def test_its_schema_takes_text_or_a_file() -> None:
    """What an editor offers is what a configuration takes."""
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
def test_says_why_a_file_cannot_be_used(tmp_path: Path, content: bytes | None, message: str) -> None:
    """The message names the file and the reason."""
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
def test_scrubs(text: str, shown: str) -> None:
    """Known and key-like secrets, control characters and excess length go; the rest stays."""
    assert shown == scrub(text, ["my-key", "abc"])


def test_every_spelling_is_found() -> None:
    """A secret goes also where it stands percent-encoded or escaped for JSON, and where the text is cut."""
    secret = 'p@ss"word/with ümlaut'
    assert "a [redacted] b [redacted] c" == scrub(
        'a p%40ss%22word%2Fwith%20%C3%BCmlaut b p@ss\\"word/with \\u00fcmlaut c', [secret]
    )
    long = "x" * 1100
    assert "[redacted]" * 7 == scrub(long * 8, [long])


def test_what_utf8_cannot_hold_is_replaced() -> None:
    """A lone surrogate would break every log line, span and page that it stands in."""
    assert "a?b" == scrub("a\ud800b")


def test_a_secret_of_several_lines_is_found_in_parts() -> None:
    """A key with a newline is scrubbed even where only one of its lines stands."""
    assert "bad header [redacted]" == scrub("bad header second-line", ["first-line\nsecond-line"])


def test_a_secret_may_be_any_text() -> None:
    """Even a secret that no file could hold is scrubbed without a stumble."""
    assert "a [redacted] b" == scrub("a ke\ud800y! b", ["ke\ud800y!"])


def test_text_that_stands_alone_keeps_its_lines() -> None:
    """Newlines and tabs, and no other of what ends a line or moves a cursor."""
    assert "a\nb\tc d e" == scrub("a\nb\tc\rd\x1be", lines=True)
    assert "a\nb\tc d" == printable("a\nb\tc\u2028d", lines=True)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece", ["key=", "://", "://a", "a", "=", "%3d", "token", "&token=", "sk-", "Bearer ", "\x00", "?api_", "://a:b"]
)
def test_the_time_it_takes_grows_with_the_text_alone(piece: str) -> None:
    """Whatever a provider repeats ever so often."""
    text = piece * (2_000_000 // len(piece))
    assert 100_000 >= len(scrub(text, limit=100_000))
