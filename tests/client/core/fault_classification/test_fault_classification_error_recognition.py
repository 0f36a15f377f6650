"""Errors that are not marked as such: JSON and text in a stream, or in a body with status 200."""

import json

import pytest

from streamcanary.client.core.fault_classification import (
    excerpt_of,
    find_error,
    find_error_in_event,
    keep_ignored,
    reports_error,
)

ERRORS: list[object] = [
    {"error": "no"},
    {"error": {}, "error_message": "no"},
    {"errors": [{"message": "no"}]},
    {"type": "error", "message": "no"},
    {"object": "error"},
    {"code": 500, "msg": "404 NOT_FOUND", "success": False},
    [{"error": {"code": 429}}],
    {"status": "RESOURCE_EXHAUSTED"},
    {"error_code": 17, "error_msg": "daily limit"},
    {"code": 0, "error": "no"},
    {"status_code": 503, "message": "no"},
    {"id": "c", "choices": None, "base_resp": {"status_code": 1004, "status_msg": "no"}},
    {"base_resp": {"status_code": "1004"}},
]
OTHERS: list[object] = [
    {"message": "Welcome"},
    {"detail": "see /docs"},
    {"status": "ok", "code": 200},
    {"type": "ping"},
    {"error_code": 0, "error_msg": "success"},
    {"error_code": "0", "error_msg": "none"},
    {"code": 200, "error_message": "success"},
    {"code": 1000, "msg": "success"},
    {"code": "1113", "msg": "a step"},
    {"success": False},
    {"success": True, "message": "no"},
    {"detail": ["see", "/docs"]},
    {"base_resp": {"status_code": 0, "status_msg": "success"}},
    {"base_resp": "no"},
    {"error": "", "id": "c"},
    {"error": None, "errors": []},
    {"choices": [{}], "error": "no"},
    [{"model": "x"}],
    [],
    None,
    "error",
    {},
]


@pytest.mark.parametrize(("value", "is_error"), [*((v, True) for v in ERRORS), *((v, False) for v in OTHERS)])
def test_json_is_recognized_as_an_error(value: object, is_error: bool) -> None:
    """JSON that is no answer is an error if it has a member for errors, or an error code; a greeting is none."""
    assert is_error is reports_error(value)
    assert (value if is_error else None) == find_error(json.dumps(value).encode())


@pytest.mark.parametrize(
    "value",
    [
        {"message": "You exceeded your current quota"},
        {"code": 1001, "msg": "no header", "success": False},
        {"success": False, "message": "no"},
        {"status": "error", "message": "no"},
        {"detail": [{"loc": ["body", "n"], "msg": "field required"}]},
        {"message": "Internal server error"},
        {"detail": "Not authenticated"},
        {"detail": "Not Found"},
        {"message": "Endpoint request timed out"},
        {"msg": "inference failed: no memory", "state": 3},
    ],
)
def test_whole_json_is_recognized_by_its_words(value: object) -> None:
    """A whole body of JSON whose message has a known phrase, a status or a word for errors is an error.

    So is one that says that the request failed. In a stream that goes on, none of them is one.
    """
    assert (value, False) == (find_error(json.dumps(value).encode()), reports_error(value))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[ERROR] CUDA out of memory", "[ERROR] CUDA out of memory"),
        ("RuntimeError: CUDA out of memory", "RuntimeError: CUDA out of memory"),
        ("Internal Server Error", "Internal Server Error"),
        ("Request failed during generation", "Request failed during generation"),
        ("error: the context is full", "the context is full"),
        ("Rate limit exceeded", "Rate limit exceeded"),
        ("upstream connect error or disconnect", "upstream connect error or disconnect"),
        ('{\n  "error": {\n    "message": "no"\n  }\n}', {"error": {"message": "no"}}),
        ('error: {"message": "no", "code": 500}', {"message": "no", "code": 500}),
        ('{"done": false}\n{"error": "no"}\n', {"error": "no"}),
        ('{"error": "no"}\n{"done": true}', {"error": "no"}),
        ("<html><title>503 Service Unavailable</title></html>", None),
        ("<p>Log in", None),
        ("Sign in", None),
        ("Ollama is running", None),
        ("OK", None),
        ("errors are described below", None),
        ("rate limit " + "x" * 1000, None),
        ('{"error": ', None),
        ("\xff", None),
        ("", None),
    ],
)
def test_text_is_recognized_by_how_it_begins(text: str, error: object) -> None:
    """A short text that begins as an error does, or has a known phrase, is an error; a page or a greeting is none."""
    assert error == find_error(text.encode())


@pytest.mark.parametrize(
    ("event", "data", "error"),
    [
        ("error", b"no more", "no more"),
        ("exception", b"no more", "no more"),
        ("message", b'error: {"message": "boom", "code": 500}', {"message": "boom", "code": 500}),
        ("message", b"[ERROR] CUDA out of memory", "[ERROR] CUDA out of memory"),
        ("message", b"no more", None),
        ("message", b'{"error": "cut of', None),
        ("message", b'data: {"choices": []}', None),
    ],
)
def test_event_that_is_not_json_is_an_error_by_its_type_or_words(event: str, data: bytes, error: object) -> None:
    """Data that is not JSON is an error if its event is, or if it begins as an error does; other data is malformed."""
    assert error == find_error_in_event(event, data)


@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        (b'{"message": "Welcome\\n to x"}', "Welcome to x"),
        (b'{"status": "up"}', '{"status": "up"}'),
        (b"<html><title>Sign in</title>", "Sign in"),
        (b"<html>", ""),
        (b"x" * 300, "x" * 199 + "…"),
        (b"\x89PNG\x00", ""),
        (b"", ""),
    ],
)
def test_excerpt_is_short_text(body: bytes, excerpt: str) -> None:
    """An excerpt is the message or title of a body, or its beginning, on one line; binary data has none."""
    assert excerpt == excerpt_of(body)


def test_first_and_last_ignored_messages_are_kept() -> None:
    """Of many messages the first and the last seven are kept, none of them if it is over 8 KiB."""
    ignored: list[bytes] = []
    for number in range(12):
        keep_ignored(ignored, b"%d" % number)
        keep_ignored(ignored, b"x" * 9000)
    assert [b"0", *(b"%d" % number for number in range(5, 12))] == ignored
