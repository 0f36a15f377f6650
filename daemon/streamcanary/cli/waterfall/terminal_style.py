"""Finds out how to draw on stdout."""

import os
import shutil
import sys

from streamcanary.cli.waterfall.render import Style

_WIDTH_OF_FILES = 100  # columns, if stdout is no terminal and COLUMNS is not set


def style_of_stdout() -> Style:
    """Return the style: the width of the terminal, and colors on a terminal only.

    No colors with ``NO_COLOR`` (https://no-color.org/) or ``TERM=dumb``. ASCII only if the encoding of stdout has no
    box-drawing characters.
    """
    has_color = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    try:
        "├└│─█▒░…".encode(sys.stdout.encoding or "ascii")
        is_ascii = False
    except (UnicodeEncodeError, LookupError):
        is_ascii = True
    width = shutil.get_terminal_size((_WIDTH_OF_FILES, 24)).columns
    return Style(width=width, has_color=has_color, is_ascii=is_ascii)
