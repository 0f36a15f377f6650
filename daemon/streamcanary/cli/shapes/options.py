"""The options ``--shapes``, ``--shape`` and ``--plot`` of ``check``."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from streamcanary.alerting.forecast.shapes import STANDARD_SHAPES, Shape, parse_shape
from streamcanary.alerting.lint.matchers import suggest_label
from streamcanary.alerting.scope import value_in_scope
from streamcanary.cli.load_config import UsageError
from streamcanary.model.canary import Canary

MAX_SHAPES: Final = 20
"""How many shapes one command accepts."""

_SCOPES: Final = dict.fromkeys(("canary", "target", "provider", "model"), "")


def requested_shapes(arguments: argparse.Namespace) -> list[Shape]:
    """Return the shapes that ``arguments`` ask for: the standard ones, those that are written, or none.

    Raises:
        UsageError: if one cannot be read, or the picture has another name than SVG has; the message is on stderr.
    """
    written: Sequence[str] = arguments.shape or ()
    if arguments.plot and arguments.plot.suffix.lower() != ".svg":
        print(
            f"streamcanary: --plot {arguments.plot}: the picture is SVG; give a file that ends in .svg", file=sys.stderr
        )
        raise UsageError
    if len(written) > MAX_SHAPES:
        print(f"streamcanary: --shape: {len(written)} shapes; write at most {MAX_SHAPES}", file=sys.stderr)
        raise UsageError
    shapes = list(STANDARD_SHAPES) if arguments.shapes or (arguments.plot and not written) else []
    for text in written:
        try:
            shapes.append(parse_shape(text))
        except ValueError as error:
            print(f"streamcanary: --shape {text[:100]!r}: {error}", file=sys.stderr)
            raise UsageError from None
    return list({shape.text: shape for shape in shapes}.values())


def check_scopes(shapes: Sequence[Shape], canaries: Sequence[Canary]) -> None:
    """Check that each of ``shapes`` hits some of ``canaries``.

    Raises:
        UsageError: if no canary has the scope of a shape; the message is on stderr.
    """
    for shape in shapes:
        if not shape.scope or any(value_in_scope(canary, shape.scope) for canary in canaries):
            continue
        known: list[Mapping[str, str]] = [_SCOPES, *(canary.labels for canary in canaries)]
        problem = "no canary has a model" if shape.scope == "model" else f"no canary has the label {shape.scope}"
        hint = suggest_label(shape.scope, known)
        print(f"streamcanary: --shape {shape.text!r}: {problem}; {hint}", file=sys.stderr)
        raise UsageError


def write_plot(path: Path, picture: str) -> None:
    """Write the ``picture`` to ``path``.

    Raises:
        UsageError: if it cannot be written; the message is on stderr.
    """
    from streamcanary.cli.first_config.atomic_write import write_atomically

    try:
        write_atomically(path, picture, overwrite=True)
    except OSError as error:
        print(
            f"streamcanary: --plot {path}: {error.strerror or error}; give a file that can be written", file=sys.stderr
        )
        raise UsageError from None
