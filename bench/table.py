"""The table of all measurements."""

from collections.abc import Iterable
from typing import NamedTuple


class Row(NamedTuple):
    """One measurement: its name, the value with its unit, and the limit, if there is one."""

    what: str
    measured: str
    budget: str = ""


def render(rows: Iterable[Row]) -> str:
    """Return the table as plain text: a line of headings, and a line for each row."""
    lines = [Row("what", "measured", "budget"), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        f"{line.what:<{widths[0]}}  {line.measured:>{widths[1]}}  {line.budget:>{widths[2]}}".rstrip() for line in lines
    )
