"""Removal of secrets from text: known ones, whole and in slices, and whatever looks like a key."""

import base64
import html
import json
from collections.abc import Callable
from functools import partial
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from streamcanary.model.outcome import OutcomeKind
from streamcanary.model.redaction.printable import printable
from streamcanary.model.redaction.redactor import Redactor, scrub, shared_redactor
from streamcanary.model.redaction.stream import StreamRedactor

KEY = "qX7w+Zk/93LmVb2_TnR-dc8Hy4JfGs5PuE1oA6iC"
"""A key with the characters of both alphabets of base64."""

ALMOST_CLEAN = [
    "",
    KEY[:7],
    KEY[4:13],
    "short",
    "sho%72t",
    "two words",
    "here",
    "Bearer",
    "sk-abcdefgh",
    "?token=",
    "=value",
    "://",
    "a:b@",
    " ",
    "\n",
    "\u200b",
    "\ud800",
    "%2",
    "\\u0041",
]
"""Texts with parts of secrets, and what changes what is next to it."""


def _percent_all(text: str) -> str:
    return "".join(f"%{octet:02x}" for octet in text.encode())


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded in lower case": lambda text: quote(text, safe="").lower(),
    "percent-encoded throughout": _percent_all,
    "percent-encoded twice": lambda text: quote(_percent_all(text), safe=""),
    "escaped for JSON": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "escaped for JSON throughout": lambda text: "".join(f"\\u{ord(character):04x}" for character in text),
    "escaped for HTML": lambda text: html.escape(text).replace("/", "&#47;").replace("+", "&#x2B;"),
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal in upper case": lambda text: text.encode().hex().upper(),
}


def _base64(text: str, shift: int, alphabet: bytes) -> str:
    """Return the characters that base64 has for ``text`` alone, ``shift`` octets after a multiple of three."""
    encoded = base64.b64encode(b"." * shift + text.encode(), alphabet).decode()
    return encoded[{0: 0, 1: 2, 2: 3}[shift] : (shift + len(text)) * 8 // 6]


for octets in range(3):
    ENCODINGS[f"base64 after {octets} octets"] = partial(_base64, shift=octets, alphabet=b"+/")
    ENCODINGS[f"URL-safe base64 after {octets} octets"] = partial(_base64, shift=octets, alphabet=b"-_")


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize(
    "secret", ["internal-gateway-key-42", "qwkjzhxnvbtrplmsd", "correct-horse-battery", "sk-12345"]
)
def test_ordinary_secret_is_removed_as_a_whole(secret: str, encode: Callable[[str], str]) -> None:
    """A secret that looks like ordinary text is removed as a whole, in any encoding and in any case."""
    assert "got '[redacted]'?" == scrub(f"got '{encode(secret)}'?", [secret])


@pytest.mark.parametrize("password", ["Hunter2-Passw0rd!xyz", "correct-horse"])
@pytest.mark.parametrize("scheme", ["Basic", "basic"])
def test_password_of_basic_authentication_is_removed(scheme: str, password: str) -> None:
    """The password in a header with basic authentication is a secret, too; the user name is not."""
    header = f"{scheme} {base64.b64encode(f'svc:{password}'.encode()).decode()}"
    assert "user svc with [redacted]" == scrub(f"user svc with {password}", [header])
    assert "[redacted]" == scrub(header.partition(" ")[2], [header])


def test_ordinary_key_after_a_scheme_is_removed() -> None:
    """A key that looks like ordinary text is removed without the scheme of its header, too; a placeholder stays."""
    assert "no [redacted] none" == scrub("no internal-gateway none", ["Bearer internal-gateway", "Bearer none"])


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_each_slice_of_eight_characters_is_removed(encode: Callable[[str], str]) -> None:
    """Eight consecutive characters of a secret are removed, from any place in it and in any encoding."""
    slices = [KEY[start : start + 8] for start in range(len(KEY) - 7)]
    assert {"got '[redacted]'?"} == {scrub(f"got '{encode(piece)}'?", [KEY]) for piece in slices}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_a_whole_secret_is_removed(encode: Callable[[str], str]) -> None:
    """A whole secret has one mask, in any encoding."""
    assert "got '[redacted]'?" == scrub(f"got '{encode(KEY)}'?", [KEY])


def test_seven_characters_of_a_secret_stay() -> None:
    """Fewer than eight consecutive characters stay: providers show the last four of a key on purpose."""
    assert f"key ...{KEY[-7:]}." == scrub(f"key ...{KEY[-7:]}.", [KEY])


@given(
    st.text(alphabet='abcXYZ019-_/+%\\u"&;= ', max_size=40),
    st.integers(8, 40),
    st.integers(0, 32),
    st.text(max_size=40),
)
def test_no_slice_survives_anywhere(before: str, length: int, start: int, after: str) -> None:
    """Whatever is around a slice of a secret, no eight characters of it are left."""
    shown = scrub(before + KEY[start : start + length] + after, [KEY]).lower()
    assert [] == [KEY[at : at + 8] for at in range(len(KEY) - 7) if KEY[at : at + 8].lower() in shown]


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("sk-proj-aB3dE6gH9jK2mN5pQ8sT", "keys start with sk-proj- or Bearer"),
        ("Bearer aB3dE6gH9jK2mN5pQ8sT", "send Authorization: Bearer and a key"),
        ("acme-gateway-aB3dE6gH9jK2", "acme-gateway does not know example-model-large"),
        ("example-model-large", "acme-gateway does not know example-model-large"),
        ("https://hooks.example.com/services/T0/B0/aB3dE6gH9jK2", "hooks.example.com/services is down"),
        ("2024-05-01-preview", "the model gpt-4-2024-05-01 is gone"),
        ("application/json", "the content type is application/x-ndjson"),
        ("assistants=v2", "no assistants=v1"),
        ("production", "a production-like system"[:12]),
        ("none", "there is none"),
        ("EMPTY", "the answer is EMPTY"),
        ("abc", "abc"),
        ("12345678", "1234567"),
    ],
)
def test_ordinary_words_stay(secret: str, text: str) -> None:
    """Prefixes of keys, public names, versions, media types and placeholders are no secrets, nor are parts of them."""
    redactor = Redactor([secret], public=["acme-gateway", "example-model-large"])
    assert text.replace("production", "[redacted]") == redactor.scrub(text)


@pytest.mark.parametrize(
    ("secret", "text", "shown"),
    [
        ("sk-proj-aB3dE6gH9jK2mN5pQ8sT", "bad sk-proj-aB3dE6gH", "bad [redacted]"),
        ("acme-gateway-aB3dE6gH9jK2", "bad acme-gateway-aB3", "bad [redacted]"),
        ("https://hooks.example.com/x/T0/B0/aB3dE6gH9jK2", "bad aB3dE6gH", "bad [redacted]"),
        ("https://user:aB3dE6gH9jK2@proxy.example:3128", "bad aB3dE6gH", "bad [redacted]"),
        ("Basic aB3dE6gH9jK2", "bad aB3dE6gH", "bad [redacted]"),
        ("x-internal", "bad x-internal", "bad [redacted]"),
        ("short", "bad %73hort", "bad [redacted]"),
        ("first-line-4711\nsecond-line-0815", "bad line-0815", "bad [redacted]"),
    ],
)
def test_parts_of_secrets_are_removed(secret: str, text: str, shown: str) -> None:
    """Slices that reach beyond a public prefix, tokens and passwords in URLs, and short secrets are removed."""
    assert shown == Redactor([secret], public=["acme-gateway"]).scrub(text)


class _Inner(Struct, frozen=True):
    text: str
    kind: OutcomeKind = OutcomeKind.FAILED


class _Outer(Struct, frozen=True):
    name: str
    inner: _Inner
    items: tuple[_Inner | str, ...] = ()
    count: int = 3


def test_every_text_of_a_struct_is_redacted() -> None:
    """Texts at any depth of a struct are redacted, except for fields that are named."""
    dirty = _Outer(KEY, _Inner(f"a {KEY}"), (_Inner(KEY), f"{KEY}\n", "clean"))
    clean = _Outer(KEY, _Inner("a [redacted]"), (_Inner("[redacted]"), "[redacted]", "clean"))
    assert clean == Redactor([KEY]).redact(dirty, keep={"name"})


def test_a_struct_without_secrets_stays_the_same_object() -> None:
    """Nothing is copied if nothing changes."""
    value = _Outer("name", _Inner("text"), ("clean",))
    assert value is Redactor([KEY]).redact(value)


def _in_pieces(text: str, size: int) -> str:
    redactor = StreamRedactor(Redactor([KEY, "short"]))
    pieces = [redactor.feed(text[start : start + size]) for start in range(0, len(text), size)]
    return "".join([*pieces, redactor.flush()])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 50])
@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_a_secret_in_pieces_is_removed(size: int, encode: Callable[[str], str]) -> None:
    """A secret that arrives in pieces of any size has one mask, and the text around it stays."""
    text = f"say '{encode(KEY)}' or '{encode(KEY[9:19])}' short, q"
    assert "say '[redacted]' or '[redacted]' [redacted], q" == _in_pieces(text, size)


@given(st.text(alphabet="qX7w+Zk/93Lshor%&\\u \n", max_size=60), st.integers(1, 9))
def test_pieces_add_up_to_the_whole(text: str, size: int) -> None:
    """Text in pieces loses and gains nothing compared with the whole."""
    assert Redactor([KEY, "short"]).mask_known(text) == _in_pieces(text, size)


def test_text_is_shown_as_soon_as_it_cannot_be_a_secret() -> None:
    """Only what may be the beginning of a secret is held back."""
    redactor = StreamRedactor(Redactor([KEY]))
    assert ["pong!", "", "qX7 pong!"] == [redactor.feed("pong!"), redactor.feed("qX7"), redactor.feed(" pong!")]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Incorrect API key: sk-abcdefghijklmnop.", "Incorrect API key: [redacted]"),
        ("my-key was given", "[redacted] was given"),
        ("Authorization: Bearer abcdefghijkl", "Authorization: Bearer [redacted]"),
        ("https://hooks.slack.com/services/T0/B0/xyz", "https://hooks.slack.com/services/[redacted]"),
        ("a\x1b[31mred\x00", "a [31mred"),
        ("a\nb\r\nc\td\x0be\x0cf\x1cg\x85h\u2028i\u2029j", "a b c d e f g h i j"),
        ("left\u202eright\u2066x\u200fy\ufeffz", "left right x yz"),
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
    assert "[redacted]" == scrub(long * 8, [long])


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


@given(
    st.lists(
        st.builds("{}{}{}".format, st.text(max_size=6), st.sampled_from(ALMOST_CLEAN), st.text(max_size=6)), max_size=4
    )
)
def test_clean_texts_are_scrubbed_to_themselves(texts: list[str]) -> None:
    """Texts that are clean together are not changed by scrubbing each alone."""
    redactor = Redactor([KEY, "short", "two words here"])
    changed = [text for text in texts if redactor.scrub(text) != text]
    assert not (redactor.is_clean(texts) and changed)


def test_usual_texts_are_clean() -> None:
    """Names, ids and words are clean, so that a log line of them is searched once."""
    assert Redactor([KEY]).is_clean(["run finished", "chat-mini", "0af7651916cd43dd8448eb211c80319c", "", "größer"])


class Answer(Struct, frozen=True):
    """A value with texts at several depths."""

    model: str
    kind: OutcomeKind = OutcomeKind.OK
    parts: tuple["Answer", ...] = ()
    run_id: str = ""


def test_a_clean_value_is_returned_as_it_is() -> None:
    """A value without secrets is not copied."""
    answer = Answer("m", parts=(Answer("n"),), run_id=KEY)
    assert answer is Redactor([KEY]).redact(answer, keep={"run_id"})


@pytest.mark.parametrize("text", [KEY, f" {KEY[:8]}", "a\x1bb", "x" * 501])
def test_a_text_at_any_depth_is_redacted(text: str) -> None:
    """A text at any depth of a value is scrubbed, also if all others are clean."""
    redactor = Redactor([KEY])
    expected = Answer("m", parts=(Answer("n", parts=(Answer(redactor.scrub(text)),)),))
    assert expected == redactor.redact(Answer("m", parts=(Answer("n", parts=(Answer(text),)),)))


@given(
    st.lists(st.sampled_from(ALMOST_CLEAN), max_size=3),
    st.lists(st.sampled_from([*ALMOST_CLEAN, KEY, KEY[2:30], "two words"]), max_size=6),
)
def test_public_texts_without_a_part_of_a_secret_make_no_difference(public: list[str], texts: list[str]) -> None:
    """A shared redactor leaves out only those: it changes each text as one with all of them does."""
    secrets, text = (KEY, "short", "two words"), "".join(texts)
    shared = shared_redactor(secrets, tuple(public))
    assert Redactor(secrets, public).scrub(text) == shared.scrub(text)
    assert Redactor(secrets, public).spans(text) == shared.spans(text)


def test_canaries_with_other_names_share_a_redactor() -> None:
    """A name that is a part of a secret has one of its own: it is not redacted."""
    first, second, own = (shared_redactor((KEY,), (name,)) for name in ("canary-1", "canary-2", KEY[:12]))
    assert first is second
    assert own is not first
    assert KEY[:12] == own.scrub(KEY[:12])
