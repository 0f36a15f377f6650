"""The badge of a canary: its name, state and availability in 20 pixels, as SVG."""

from typing import Final
from xml.sax.saxutils import escape

from streamcanary.web.page import text_format

_COLORS: Final = {
    "ok": "#0a7567",
    "slow": "#8f5f00",
    "degraded": "#7c3fbf",
    "failing": "#c22420",
    "unknown": "#6f6a61",
}
_CHARACTER, _PADDING = 6.6, 12
_MAX_NAME = 40


def badge(name: str, state: str, availability: float | None) -> str:
    """Return the badge; ``availability`` is that of 30 days, from 0 to 1."""
    left = text_format.clean(name, _MAX_NAME)
    right = text_format.STATE_WORDS.get(state, "no data")
    if availability is not None:
        right += f" {text_format.availability(availability)}"
    left_width, right_width = (round(len(text) * _CHARACTER + _PADDING) for text in (left, right))
    width = left_width + right_width
    text = '<text x="{x}" y="14" textLength="{length}" lengthAdjust="spacingAndGlyphs">{text}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" '
        f'aria-label="{_attribute(f"{left}: {right}")}"><title>{escape(f"{left}: {right}")}</title>'
        f'<rect width="{width}" height="20" rx="3" fill="{_COLORS.get(state, _COLORS["unknown"])}"/>'
        f'<path d="M3 0H{left_width}V20H3A3 3 0 0 1 0 17V3A3 3 0 0 1 3 0z" fill="#33363c"/>'
        '<g fill="#fff" font-family="system-ui,Verdana,DejaVu Sans,sans-serif" font-size="11">'
        + text.format(x=_PADDING // 2, length=left_width - _PADDING, text=escape(left))
        + text.format(x=left_width + _PADDING // 2, length=right_width - _PADDING, text=escape(right))
        + "</g></svg>"
    )


def _attribute(text: str) -> str:
    return escape(text, {'"': "&quot;"})
