"""Primitives of the pictures: text, boxes, colours, and numbers with their units."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any, Final

from msgspec import Struct

FONT: Final = "DejaVu Sans, Arial, sans-serif"
PALETTE: Final = (
    "#5794f2", "#73bf69", "#ff9830", "#b877d9", "#f2495c", "#fade2a", "#37872d", "#1f60c4", "#fa6400", "#8f3bb8",
    "#e02f44", "#96d98d",
)  # fmt: skip
_COLOURS: Final = {
    "green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", "yellow": "#fade2a", "purple": "#b877d9",
    "gray": "#9fa7b3",
}  # fmt: skip


class Box(Struct, frozen=True):
    """A rectangle in pixels."""

    left: float
    top: float
    width: float
    height: float

    def rect(self, *, fill: str, stroke: str = "none") -> str:
        """Return the rectangle as SVG."""
        return (
            f'<rect x="{self.left:.1f}" y="{self.top:.1f}" width="{max(self.width, 0):.1f}" '
            f'height="{max(self.height, 0):.1f}" fill="{fill}" stroke="{stroke}"/>'
        )


def text(
    x: float,
    y: float,
    content: str,
    *,
    size: int = 11,
    fill: str = "#24292e",
    weight: str = "normal",
    anchor: str = "start",
) -> str:
    """Return one line of text; ``y`` is its baseline."""
    style = "".join(
        f' {name}="{value}"'
        for name, value, default in (("font-weight", weight, "normal"), ("text-anchor", anchor, "start"))
        if value != default
    )
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}"{style}>{escape(content)}</text>'


def colour(name: str) -> str:
    """Return the value of a colour of Grafana's thresholds."""
    return _COLOURS.get(name, name)


def threshold_colour(value: float, defaults: dict[str, Any]) -> str:
    """Return the colour of ``value`` by the thresholds of a panel."""
    found = "green"
    for step in (defaults.get("thresholds") or {}).get("steps") or ():
        if step["value"] is None or value >= step["value"]:
            found = step["color"]
    return colour(found)


def series_name(legend: str, labels: dict[str, str]) -> str:
    """Return the legend of a series with its labels filled in."""
    if legend in ("", "__auto"):
        return ", ".join(f"{key}={value}" for key, value in labels.items() if key != "__name__") or "value"
    name = legend
    for key, value in labels.items():
        name = name.replace(f"{{{{{key}}}}}", value)
    while "{{" in name and "}}" in name:  # a label that the series lacks
        name = name[: name.index("{{")] + name[name.index("}}") + 2 :]
    return name.strip(" ,") or "none"


def format_value(value: float, unit: str) -> str:
    """Return ``value`` with its unit, short."""
    if math.isnan(value):
        return "-"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "currencyUSD":
        return f"${value:.3g}"
    if unit == "s":
        return _format_seconds(value)
    suffix = {"tok/s": " tok/s", "reqps": " /s", "bytes": "B"}.get(unit, "")
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {letter}{suffix.strip()}"
    return f"{value:.3g}{suffix}"


def _format_seconds(value: float) -> str:
    for length, letter in ((86_400 * 365, "years"), (86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if abs(value) >= length:
            return f"{value / length:.3g} {letter}"
    return f"{value * 1000:.3g} ms"


def nice_ceiling(value: float) -> float:
    """Return the next number from ``value`` on that is 1, 2 or 5 times a power of ten."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def fit(content: str, width: float, size: int = 11) -> str:
    """Return ``content`` cut to about ``width`` pixels."""
    characters = max(1, int(width / (size * 0.58)))
    return content if len(content) <= characters else f"{content[: characters - 1]}…"


def finite(values: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the samples that are numbers."""
    return [(moment, value) for moment, value in values if math.isfinite(value)]
