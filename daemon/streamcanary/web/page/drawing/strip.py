"""Strips of bars and fields of cells: one path for each state, coded by run length.

A path is a horizontal line that the stylesheet cuts into bars by a dash pattern, which starts again with each subpath:
sixty bars of the same state are one segment. The width of the line is the height of the bars, and differs by state.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

from msgspec import Struct

STEP = 3
"""The distance of two bars or cells; two of it are filled."""

BAR_HEIGHTS = {"unknown": 6, "ok": 11, "slow": 15, "degraded": 17, "failing": 20}
"""The height of a bar of each state; the stylesheet has the same numbers. Colour is never all that differs."""

STRIP_HEIGHT = 20
CELL_LINE = 14
"""The distance of two lines of cells."""


class StatePath(Struct, frozen=True):
    """The bars or cells of one state: ``d`` of an SVG path."""

    state: str
    d: str


class Strip(Struct, frozen=True, kw_only=True):
    """A drawing of ``width`` and ``height``."""

    width: int
    height: int
    paths: tuple[StatePath, ...]


def bar_strip(states: Sequence[str], slots: int) -> Strip:
    """Return ``states``, the oldest first, as bars that end at the right of ``slots`` bars."""
    shown = states[-slots:]
    offset = slots - len(shown)
    segments: dict[str, list[str]] = {}
    for state, first, last in _stretches(shown):
        middle = STRIP_HEIGHT - BAR_HEIGHTS[state] / 2
        segments.setdefault(state, []).append(f"M{(offset + first) * STEP} {middle:g}H{(offset + last) * STEP - 1}")
    return Strip(width=slots * STEP - 1, height=STRIP_HEIGHT, paths=_paths(segments))


def cell_field(states: Sequence[str], columns: int) -> Strip:
    """Return ``states`` as lines of cells, from left to right and top to bottom."""
    segments: dict[str, list[str]] = {}
    lines = [states[start : start + columns] for start in range(0, len(states), columns)]
    for number, line in enumerate(lines):
        for state, first, last in _stretches(line):
            middle = number * CELL_LINE + CELL_LINE - 2 - BAR_HEIGHTS[state] * 0.3
            segments.setdefault(state, []).append(f"M{first * STEP} {middle:g}H{last * STEP - 1}")
    width = min(columns, max(len(states), 1)) * STEP - 1
    return Strip(width=width, height=max(1, len(lines)) * CELL_LINE, paths=_paths(segments))


def _stretches(states: Iterable[str]) -> Iterable[tuple[str, int, int]]:
    """Yield each stretch of equal states with the index of its first, and that after its last."""
    position = 0
    for state, stretch in groupby(states):
        length = sum(1 for _ in stretch)
        yield state, position, position + length
        position += length


def _paths(segments: dict[str, list[str]]) -> tuple[StatePath, ...]:
    return tuple(StatePath(state, "".join(parts)) for state, parts in segments.items())
