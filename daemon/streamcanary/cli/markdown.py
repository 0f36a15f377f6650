"""Tables in Markdown whose cells have untrusted text."""

from collections.abc import Iterable, Iterator, Sequence

_SPECIAL = frozenset(r"\`*_{}[]<>#|~")


def escape_markdown(text: str) -> str:
    """Return ``text`` so that Markdown shows it as it is, on one line."""
    escaped = "".join(f"\\{each}" if each in _SPECIAL else each for each in text)
    return " ".join(escaped.replace("&", "&amp;").split("\n"))


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; the text of its cells is shown as it is."""
    yield f"| {' | '.join(map(escape_markdown, head))} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(map(escape_markdown, row))} |" for row in rows)
