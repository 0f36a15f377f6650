"""Removes secrets from text that arrives in pieces."""

from streamcanary.model.redaction.key_patterns import MASK
from streamcanary.model.redaction.redactor import Redactor

_MAX_CONTEXT = 96  # characters: a slice of eight, each escaped twice


class StreamRedactor:
    """Removes known secrets from text that arrives in pieces; a secret may be split over any number of them."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._masked = ""  # the end of a secret that was masked last, which may continue
        self._pending = ""  # what may be the beginning of a secret, and was not returned yet

    def feed(self, piece: str) -> str:
        """Return the text that can be shown now; what may be the beginning of a secret is held back."""
        text = self._masked + self._pending + piece
        shown, position = self._mask(text)
        cut = self._redactor.possible_start(text)
        if cut > position:
            shown, position, self._masked = shown + text[position:cut], cut, ""
        self._pending = text[position:]
        return shown

    def flush(self) -> str:
        """Return what was held back: the text has ended, or starts again."""
        text = self._masked + self._pending
        shown, position = self._mask(text)
        self._masked = self._pending = ""
        return shown + text[position:]

    def _mask(self, text: str) -> tuple[str, int]:
        """Return the text up to the end of the last secret in ``text``, masked, and this position in ``text``."""
        known = position = len(self._masked)
        pieces: list[str] = []
        for start, end in self._redactor.spans(text):
            if end <= position:
                continue
            if start >= known:  # else its mask was shown already
                pieces += (text[position:start], MASK)
            position = end
            self._masked = text[max(start, end - _MAX_CONTEXT) : end]
        return "".join(pieces), position
