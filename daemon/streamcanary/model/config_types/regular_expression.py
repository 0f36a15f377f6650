"""Regular expressions from users, matched by RE2 in time linear in the text, whatever the pattern.

RE2 is what Alertmanager and Prometheus use, in Go's version. The ``re`` module backtracks: ``([a-z-]+)+X`` against a
name of 34 letters takes it longer than a day. Syntax: https://github.com/google/re2/wiki/Syntax
"""

import functools
import itertools
from typing import Any, Final

from streamcanary.model.redaction.printable import printable

MAX_PATTERN_LENGTH: Final = 4096
"""Characters of a pattern. An alternation of a hundred names has about 2,000."""

_MAX_MEMORY = 128 * 1024  # bytes of the program and of the states that a search keeps: about 7,000 instructions
_MAX_WORK = 50_000_000  # instructions times bytes of text in one search: a quarter of a second in the worst case
_CACHED = 4096  # compiled expressions
_MAX_SHOWN = 40  # characters of a pattern in a message
_HINTS = {  # by the start of what RE2 rejects
    "(?=": "lookaheads are not supported",
    "(?!": "lookaheads are not supported",
    "(?<=": "lookbehinds are not supported",
    "(?<!": "lookbehinds are not supported",
    "(?>": "atomic groups are not supported, and not needed",
    "(?P=": "backreferences are not supported",
    "(?P": "only (?P<name>...) is supported",
    "(?(": "conditions are not supported",
    "(?#": "comments are not supported",
    "(?x": "the flags are i, m, s and U",
    "(?a": "the flags are i, m, s and U",
    "(?u": "the flags are i, m, s and U",
    "(?L": "the flags are i, m, s and U",
    "*+": "possessive repetitions are not supported, and not needed",
    "++": "possessive repetitions are not supported, and not needed",
    "?+": "possessive repetitions are not supported, and not needed",
    "\\Z": "write \\z",
    "\\u": "write \\x{20AC} for U+20AC",
    "\\U": "write \\x{1F600} for U+1F600",
    "\\N": "write \\x{20AC} for U+20AC",
    **{f"\\{digit}": "backreferences are not supported" for digit in "123456789"},
}


class InvalidPattern(ValueError):
    """The pattern is not a regular expression of RE2, or too large; the text says what is wrong, and where."""


class RegularExpression:
    """A compiled pattern. ``.`` does not match a newline, ``$`` only matches at the end, case matters.

    ``program_size`` is the number of instructions of its program: the work for each byte of text is at most
    proportional to it.
    """

    __slots__ = ("_compiled", "program_size")

    def __init__(self, pattern: str) -> None:
        """Compile ``pattern``; :func:`compile_pattern` does so once for each pattern.

        Raises:
            InvalidPattern: if it is not valid, longer than :data:`MAX_PATTERN_LENGTH`, or its program is too large.
        """
        import re2  # here, because it takes 4 MB of memory, and few configurations have a regular expression

        if len(pattern) > MAX_PATTERN_LENGTH:
            raise InvalidPattern(f"has {len(pattern)} characters; at most {MAX_PATTERN_LENGTH} are allowed")
        options = re2.Options()
        options.max_mem = _MAX_MEMORY
        options.never_capture = True
        options.log_errors = False
        try:
            self._compiled: Any = re2.compile(pattern.encode(), options)
        except UnicodeEncodeError as error:
            raise InvalidPattern(f"has half a surrogate pair at character {error.start + 1}") from None
        except re2.error as error:
            raise InvalidPattern(_error_message(pattern, error)) from None
        self.program_size: Final[int] = self._compiled.programsize

    @property
    def max_searched_bytes(self) -> int:
        """The largest text that :meth:`search` takes, in bytes of UTF-8."""
        return _MAX_WORK // self.program_size

    def matches(self, text: str) -> bool:
        """Return whether the expression matches the whole ``text``, as ``^(?:PATTERN)$`` does in Alertmanager."""
        return self._compiled.fullmatch(_encode(text)) is not None

    def search(self, text: str) -> bool:
        """Return whether the expression matches anywhere in ``text``.

        Raises:
            ValueError: if ``text`` is longer than :attr:`max_searched_bytes`.
        """
        encoded = _encode(text)
        if len(encoded) > self.max_searched_bytes:
            raise ValueError(f"the text has {len(encoded)} bytes; this expression can search {self.max_searched_bytes}")
        return self._compiled.search(encoded) is not None


@functools.lru_cache(maxsize=_CACHED)
def compile_pattern(pattern: str) -> RegularExpression:
    """Return the compiled ``pattern``; the most recently used ones are kept.

    Raises:
        InvalidPattern: see :class:`RegularExpression`.
    """
    return RegularExpression(pattern)


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair: matched as U+FFFD, as Go does with invalid UTF-8
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _error_message(pattern: str, error: Exception) -> str:
    """Return the message of RE2 with the place in ``pattern`` and, for syntax of other engines, what is valid."""
    message = error.args[0] if error.args else b""
    text = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    reason, _, fragment = text.partition(": ")
    if text.startswith("pattern too large"):
        return "is too large when compiled; write fewer or smaller repetitions such as {100}"
    has_place = pattern.count(fragment) == 1 and not reason.endswith(")")  # the fragment of these is the whole pattern
    start = pattern.index(fragment) if fragment and has_place else None
    place = "" if start is None else f" at character {start + 1}"
    rest = fragment if start is None else pattern[start:]
    shown = f": {printable(rest, _MAX_SHOWN)}" if rest else ""
    hints = (hint for rejected, hint in _HINTS.items() if rest.startswith(rejected))
    return "; ".join([f"{reason}{place}{shown}", *itertools.islice(hints, 1)])
