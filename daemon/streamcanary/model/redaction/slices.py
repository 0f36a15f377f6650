"""Finds slices of secrets in text: any eight consecutive characters of a secret, in any of the usual encodings.

A provider that rejects a key often repeats a part of it, or the header that contains it, in base64. Anyone who sees
eight characters of a key here and eight there can put them together: every slice of that length is secret.

The search takes time linear in the text. Any eight characters of a text contain five that start at a multiple of four:
these are looked up in the set of all five-character slices of the secrets, and only around a hit the eight-character
slices are compared.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from streamcanary.model.redaction.escapes import View

MIN_SLICE: int = 8
"""Characters of a secret that are redacted wherever they occur together."""

MAX_SLICED_LENGTH: int = 4096
"""Characters of a secret that are searched for in slices; bounds the memory of the search."""

_GRAM = 5  # characters
_STEP = MIN_SLICE - _GRAM + 1
_HEX_SLICE = 2 * MIN_SLICE
_CACHED_SECRETS = 64  # sets of secrets
_SEPARATOR = "\ufffe"  # is no character, so that no slice crosses it
# Case is ignored, as servers fold the case of headers and hosts. The two alphabets of base64 become one.
_FOLD = {ord(upper): upper.lower() for upper in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"} | {ord("-"): "+", ord("_"): "/"}
_HEX_RUN = re.compile(rf"[0-9a-f]{{{_HEX_SLICE},}}")

# Beginnings of keys and other fixed texts, which say nothing about the rest of a secret.
_PUBLIC = (
    "sk-proj-",
    "sk-svcacct-",
    "sk-admin-",
    "sk-ant-api03-",
    "sk-ant-admin01-",
    "sk-or-v1-",
    "github_pat_",
    "authorization: bearer ",
    "authorization: basic ",
    "https://",
    "/services/",
    "/webhooks/",
    "/api/webhooks/",
    "/incomingwebhook/",
    "application/json",
    "text/event-stream",
    "-----begin private key-----",
    "-----begin certificate-----",
)


class SliceFinder:
    """Finds slices of ``secrets``, of eight characters and more, except for those that ``public`` texts contain."""

    def __init__(self, secrets: Iterable[str], public: Iterable[str] = ()) -> None:
        self._grams, self._forms, self._hex = _searched_forms(tuple(secrets))
        self._public = _SEPARATOR.join((_FOLDED_PUBLIC, *map(fold, public)))

    def spans(self, view: View) -> Iterator[tuple[int, int]]:
        """Yield the spans of the original text that are to be redacted, in order; they may overlap."""
        if not self._grams:
            return
        text = fold(view.text)
        start = end = -1
        is_secret = False
        for at in self._slices(text):
            if at > end:
                if is_secret:
                    yield view.source(start, end)
                start, is_secret = at, False
            end = at + MIN_SLICE
            is_secret = is_secret or text[at:end] not in self._public
        if is_secret:
            yield view.source(start, end)
        for run in _HEX_RUN.finditer(text):
            for at in range(run.start(), run.end() - _HEX_SLICE + 1):
                if text[at : at + _HEX_SLICE] in self._hex:
                    yield view.source(at, at + _HEX_SLICE)

    def partial_suffix(self, text: str) -> int:
        """Return the length of the longest suffix of ``text`` that a slice may begin with, at most fifteen."""
        folded = fold(text[-_HEX_SLICE + 1 :])
        return next(
            (
                size
                for size in range(len(folded), 0, -1)
                if (size < MIN_SLICE and folded[-size:] in self._forms) or folded[-size:] in self._hex
            ),
            0,
        )

    def _slices(self, text: str) -> Iterator[int]:
        """Yield the start of each slice of eight characters that a secret contains, in order."""
        grams, forms = self._grams, self._forms
        last = len(text) - MIN_SLICE
        for at in range(0, len(text) - _GRAM + 1, _STEP):
            if text[at : at + _GRAM] in grams:
                for start in range(max(0, at - _STEP + 1), min(at, last) + 1):
                    if text[start : start + MIN_SLICE] in forms:
                        yield start


@lru_cache(maxsize=_CACHED_SECRETS)
def _searched_forms(secrets: tuple[str, ...]) -> tuple[frozenset[str], str, str]:
    """Return the slices of five characters of ``secrets``, their forms, and their hexadecimal forms.

    They are several kilobytes, and take longer to build than to search. Finders of the same secrets share them: each
    canary has one of its own, because its name is public.
    """
    parts = [part[:MAX_SLICED_LENGTH] for part in dict.fromkeys(secrets) if len(part) >= MIN_SLICE]
    forms = [form for part in parts for form in encoded_forms(part)]
    grams = frozenset(form[at : at + _GRAM] for form in forms for at in range(len(form) - _GRAM + 1))
    hexadecimal = _SEPARATOR.join(part.encode("utf-8", "replace").hex() for part in parts)
    return grams, _SEPARATOR.join(dict.fromkeys(forms)), hexadecimal


def fold(text: str) -> str:
    """Return ``text`` with ASCII letters in lower case and one alphabet of base64; the length stays the same."""
    if text.isascii():
        return text.lower().replace("-", "+").replace("_", "/")
    return text.translate(_FOLD)  # lower() would lengthen some letters


def encoded_forms(secret: str) -> Iterator[str]:
    """Yield ``secret`` as it is, and its base64 at each of the three alignments to the octets before it."""
    octets = secret.encode("utf-8", "replace")
    yield fold(secret)
    if not secret.isascii():
        yield fold(octets.decode("latin-1"))  # as percent-encoding is decoded
    for shift, ambiguous in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(bytes(shift) + octets).decode()
        # Without the characters that encode bits of what is before and after the secret.
        yield fold(encoded[ambiguous : (shift + len(octets)) * 8 // 6])


_FOLDED_PUBLIC: str = _SEPARATOR.join(map(fold, _PUBLIC))
