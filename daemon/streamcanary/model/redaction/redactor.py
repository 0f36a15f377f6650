"""Removes secrets from untrusted text: those that are known, and whatever looks like a key."""

import base64
import json
import re
from collections.abc import Collection, Iterable, Iterator
from enum import Enum
from functools import lru_cache
from types import NoneType
from typing import TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec
from msgspec import Struct

from streamcanary.model.redaction.escapes import decoded_views, incomplete_escape_start
from streamcanary.model.redaction.key_patterns import MASK, mask_key_like
from streamcanary.model.redaction.printable import printable, without_zero_width
from streamcanary.model.redaction.slices import MAX_SLICED_LENGTH, MIN_SLICE, SliceFinder, encoded_forms, fold

Value = TypeVar("Value")

_MIN_SECRET_LENGTH = 4  # characters; removing shorter ones would remove ordinary words
_MAX_ORDINARY_LENGTH = 23  # characters; a longer text without digits may be a passphrase
_CACHED_REDACTORS = 64
_MAX_LENGTH = 500  # characters of a scrubbed text
_REPEATED_NAMES = 256  # cached
_MAX_REPEATED_LENGTH = 64  # characters
_WITHOUT_TEXT = frozenset({NoneType, bool, int, float})
_PLACEHOLDERS = frozenset(
    {
        "changeme",
        "dummy",
        "empty",
        "lm-studio",
        "local",
        "no-key",
        "no-key-required",
        "none",
        "not-needed",
        "null",
        "ollama",
        "sk-no-key-required",
        "test",
        "token",
        "unused",
    }
)
"""Keys that people write for servers without authentication: no secrets, but words of ordinary messages."""
_KEY_PREFIX = re.compile(r"(?:sk|pk|rk|gsk|whsec|xox[abp])[-_]", re.IGNORECASE)
_ORDINARY = re.compile(
    r"[a-z]+(?:[-_./ =][a-z]+)*(?:[-_./=]?v?[0-9]{1,3})?"  # words, a media type, assistants=v2
    r"|v?[0-9]{1,4}(?:[-.][0-9]{1,2}){0,2}(?:-[a-z]+)?"  # a version or a date: 2024-05-01-preview
)
_AUTH_SCHEME = re.compile(r"(?:api-?key|basic|bearer|token) +", re.IGNORECASE)  # of the header Authorization
_URL_DELIMITERS = re.compile(r"[/?&=#@:;]")


class Redactor:
    """Removes one set of secrets from text. Immutable; :func:`redactor_for` returns a cached one.

    Of a secret, all slices of eight characters and more are removed; as they are, percent-encoded, escaped for JSON or
    HTML, in base64 or hexadecimal, in any case. Removed as a whole only, in the same forms: secrets of four to seven
    characters, and those that look like ordinary text (an API version, a media type, a few words), since their parts
    occur in any message.
    Not removed: shorter ones, placeholders such as ``none``, and slices that ``public`` contains: texts known to
    anyone who sees the result, such as the host of the endpoint, the provider and the model. A key of a local server is
    often its name.
    """

    __slots__ = ("_slices", "_whole")

    def __init__(self, secrets: Iterable[str] = (), public: Iterable[str] = ()) -> None:
        public = tuple(public)
        known = tuple(secret for secret in _removable(tuple(secrets)) if not any(secret in text for text in public))
        self._slices = SliceFinder(_all_sliced_parts(known), public)
        self._whole = _all_whole_forms(known)

    def is_clean(self, texts: Iterable[str]) -> bool:
        """Return whether :meth:`scrub` changes none of ``texts``, each no longer than its limit.

        ``False`` if that takes more than one search of all together, which is quicker than one of each.
        """
        joined = " ".join(filter(None, texts))  # what is searched for ends at a space, or contains it
        return (
            joined.isprintable()
            and "  " not in joined
            and joined.strip() == joined
            and mask_key_like(joined) == joined
            and next(self._spans(joined), None) is None
        )

    def mask(self, text: str) -> str:
        """Return ``text`` with a mask for each secret, known or key-like."""
        return mask_key_like(self.mask_known(text))

    def mask_known(self, text: str) -> str:
        """Return ``text`` with a mask for each known secret."""
        pieces: list[str] = []
        position = 0
        for start, end in self.spans(text):
            pieces += (text[position:start], MASK)
            position = end
        return "".join((*pieces, text[position:]))

    def scrub(self, text: str, limit: int = _MAX_LENGTH, *, lines: bool = False, window: int | None = None) -> str:
        """Return untrusted ``text`` without secrets, as printable text of at most ``limit`` characters.

        ``window`` is the number of characters that are searched, since masks and control characters shorten the text;
        what follows them is left out. By default 16 times ``limit``.
        """
        window = 16 * limit if window is None else window
        if len(text) > window:
            text = self._without_cut_secret(text[:window])
        return printable(self.mask(without_zero_width(text)), limit, lines=lines)

    def scrub_name(self, name: str, limit: int) -> str:
        """Return ``name`` as :meth:`scrub` does; quicker for the short names that every answer repeats."""
        return _scrub_repeated(self, name, limit) if len(name) <= _MAX_REPEATED_LENGTH else self.scrub(name, limit)

    def redact(self, value: Value, *, keep: Collection[str] = ()) -> Value:
        """Return ``value`` with every text in it scrubbed: a struct, a tuple, a text, or anything else unchanged.

        Every field of a struct is included, at any depth, also one that is added later. ``keep`` has the names of the
        fields that are not: identifiers of our own.
        """
        texts: list[str] = []
        _add_texts(value, keep, texts)
        is_clean = all(len(text) <= _MAX_LENGTH for text in texts) and self.is_clean(texts)
        return value if is_clean else self._redact(value, keep)

    def _redact(self, value: Value, keep: Collection[str]) -> Value:
        if isinstance(value, Struct):
            changes = {}
            for name in value.__struct_fields__:
                old = getattr(value, name)
                if name not in keep and (new := self._redact(old, keep)) is not old:
                    changes[name] = new
            return msgspec.structs.replace(value, **changes) if changes else value
        if isinstance(value, tuple):
            items = tuple(self._redact(item, keep) for item in value)
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value  # type: ignore[return-value]
        if isinstance(value, str) and not isinstance(value, Enum):
            scrubbed = self.scrub(value)
            return value if scrubbed == value else scrubbed  # type: ignore[return-value]
        return value

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the spans of ``text`` that are known secrets, in order, without overlaps."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted(self._spans(text)):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged

    def possible_start(self, text: str) -> int:
        """Return where a secret may begin that ``text`` has only the beginning of; its length if there is none."""
        starts = [len(text)]
        for view in decoded_views(text):
            known = view.text[: incomplete_escape_start(view.text)]
            folded = fold(known)
            sizes = [_cut_prefix(folded, form) for form in self._whole]
            size = max([self._slices.partial_suffix(known), *sizes])
            starts.append(view.source(len(known) - size, len(view.text))[0])
        return min(starts)

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        for view in decoded_views(text):
            yield from self._slices.spans(view)
            folded = fold(view.text) if self._whole else ""
            for form in self._whole:
                start = folded.find(form)
                while start >= 0:
                    yield view.source(start, start + len(form))
                    start = folded.find(form, start + len(form))

    def _without_cut_secret(self, text: str) -> str:
        """Return ``text``, which was cut, without the beginning of a secret at its end."""
        size = max((_cut_prefix(fold(text), form) for form in self._whole), default=0)
        return text[: len(text) - size] if size >= _MIN_SECRET_LENGTH else text


@lru_cache(maxsize=_CACHED_REDACTORS)
def redactor_for(secrets: tuple[str, ...] = (), public: tuple[str, ...] = ()) -> Redactor:
    """Return the redactor of ``secrets``, a cached one if possible: secrets from files can change at any time."""
    return Redactor(secrets, public)


def shared_redactor(secrets: tuple[str, ...], public: tuple[str, ...]) -> Redactor:
    """Return a redactor that changes the same as ``redactor_for(secrets, public)``; for a caller that keeps it.

    Of ``public``, only texts that contain a part of a secret make a difference. Hardly any does, so that canaries with
    the same secrets share one, whatever their names.
    """
    of_secrets = redactor_for(secrets)
    return redactor_for(secrets, tuple(text for text in public if of_secrets.spans(text)))


@lru_cache(maxsize=_REPEATED_NAMES)
def _scrub_repeated(redactor: Redactor, name: str, limit: int) -> str:
    return redactor.scrub(name, limit)


def _add_texts(value: object, keep: Collection[str], texts: list[str]) -> None:
    """Append every text in ``value`` to ``texts``, except for the fields of structs that are in ``keep``."""
    kind = type(value)
    if kind is str:
        texts.append(value)  # type: ignore[arg-type]
    elif kind in _WITHOUT_TEXT:
        return
    elif isinstance(value, Struct):
        for name, item in zip(value.__struct_fields__, msgspec.structs.astuple(value), strict=True):
            if type(item) not in _WITHOUT_TEXT and name not in keep:
                _add_texts(item, keep, texts)
    elif isinstance(value, tuple):
        for item in value:
            _add_texts(item, keep, texts)
    elif isinstance(value, str) and not isinstance(value, Enum):
        texts.append(value)


Secrets = Redactor | Iterable[str]
"""What is removed from text: the secrets themselves, or a redactor of them."""


def scrub(text: str, secrets: Secrets = (), limit: int = 500, *, lines: bool = False) -> str:
    """Return untrusted ``text`` without ``secrets``, as printable text; see :class:`Redactor`."""
    redactor = secrets if isinstance(secrets, Redactor) else redactor_for(tuple(secrets))
    return redactor.scrub(text, limit, lines=lines)


# What follows is the same for all canaries of a target, each of which has a redactor of its own: its name is public.


@lru_cache(maxsize=_CACHED_REDACTORS)
def _removable(secrets: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``secrets``, and the credentials in them, without those that occur in ordinary text."""
    parts = dict.fromkeys(part for secret in secrets for part in (secret, *_credentials(secret)))
    return tuple(
        part
        for part in parts
        if len(part) >= _MIN_SECRET_LENGTH and part.lower() not in _PLACEHOLDERS and not _is_plain_address(part)
    )


@lru_cache(maxsize=_CACHED_REDACTORS)
def _all_sliced_parts(secrets: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parts of ``secrets`` whose slices are secret, too."""
    lines = [line.strip() for secret in secrets for line in secret.splitlines() if not line.startswith("#")]
    return tuple(part for line in lines for part in _sliced_parts(line))


def _sliced_parts(secret: str) -> Iterator[str]:
    """Yield the parts of ``secret`` whose slices are secret, too."""
    if (parts := _split_url(secret)) is not None:
        host = parts.netloc.rpartition("@")[2]
        if not _is_host(host):
            yield from _unless_ordinary(host)
        if parts.password:
            yield from _unless_ordinary(parts.password)
        secret = f"{parts.path}?{parts.query}#{parts.fragment}"
    elif scheme := _AUTH_SCHEME.match(secret):
        secret = secret[scheme.end() :]
    if parts is not None or secret.startswith("/"):
        for part in _URL_DELIMITERS.split(secret):
            yield from _unless_ordinary(part)
            if "%" in part:
                yield from _unless_ordinary(unquote(part))
    else:
        yield from _unless_ordinary(secret)


def _credentials(secret: str) -> Iterator[str]:
    """Yield what a value of the header ``Authorization`` has after its scheme, and the password in it (RFC 7617)."""
    if (scheme := _AUTH_SCHEME.match(secret)) is None:
        return
    yield (credentials := secret[scheme.end() :])
    if scheme.group().lower().startswith("basic"):
        try:
            decoded = base64.b64decode(credentials, validate=True)
        except ValueError:  # binascii.Error is one, too
            return
        yield decoded.decode("utf-8", "replace").partition(":")[2]


def _unless_ordinary(part: str) -> Iterator[str]:
    is_ordinary = len(part) <= _MAX_ORDINARY_LENGTH and _ORDINARY.fullmatch(part) and not _KEY_PREFIX.match(part)
    if len(part) >= MIN_SLICE and not is_ordinary:
        yield part


def _is_plain_address(secret: str) -> bool:
    """Return whether ``secret`` is a URL with nothing but a host: that of a proxy without a password."""
    parts = _split_url(secret)
    if parts is None or parts.path not in ("", "/") or "@" in parts.netloc or parts.query or parts.fragment:
        return False
    return _is_host(parts.netloc)


def _is_host(text: str) -> bool:
    """Return whether the host part of a URL is a host; many services of Apprise have a token in its place."""
    return "." in text or ":" in text or text == "localhost"


def _split_url(secret: str) -> SplitResult | None:
    if "://" not in secret:
        return None
    try:
        return urlsplit(secret)
    except ValueError:
        return None


@lru_cache(maxsize=_CACHED_REDACTORS)
def _all_whole_forms(secrets: tuple[str, ...]) -> tuple[str, ...]:
    """Return the forms of ``secrets`` that are searched for as a whole, the longest first."""
    forms = {form for secret in secrets for form in _whole_forms(secret)}
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))


def _whole_forms(secret: str) -> Iterator[str]:
    """Yield the folded forms of a secret that are searched for as a whole; escaped ones are found after decoding."""
    is_sliced_whole = next(_sliced_parts(secret), "") == secret and len(secret) <= MAX_SLICED_LENGTH
    if not is_sliced_whole:
        yield fold(secret)
        yield fold(json.dumps(secret)[1:-1])  # a backslash in it, which decoding would change
        yield secret.encode("utf-8", "replace").hex()
        yield from (form for form in encoded_forms(secret) if len(form) >= MIN_SLICE)
    if "\n" in secret:
        yield from (fold(line.strip()) for line in secret.split("\n") if len(line.strip()) >= 2 * _MIN_SECRET_LENGTH)


def _cut_prefix(text: str, form: str) -> int:
    """Return the length of the longest suffix of ``text`` that ``form`` begins with, less than all of ``form``."""
    start = text.find(form[0], max(0, len(text) - len(form) + 1))
    while start >= 0:
        if form.startswith(text[start:]):
            return len(text) - start
        start = text.find(form[0], start + 1)
    return 0
