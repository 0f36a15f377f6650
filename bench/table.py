"""The one table that all measurements go into."""

from collections.abc import Iterable
from typing import NamedTuple


class Row(NamedTuple):
    """One measurement: what, how much with its unit, and how much there may be, if anybody has said so."""

    what: str
    measured: str
    budget: str = ""


def render(rows: Iterable[Row]) -> str:
    """Return the table as plain text, a line a row under a line of headings."""
    lines = [Row("what", "measured", "budget"), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        f"{line.what:<{widths[0]}}  {line.measured:>{widths[1]}}  {line.budget:>{widths[2]}}".rstrip() for line in lines
    )
