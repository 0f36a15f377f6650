"""Generates the times in the page about detection, and its picture, from simulated outages of an example."""

import io
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from .examples import FOLDER, VARIABLES
from .page import Stale, replace_part, table
from .product import check, parser

PAGE = "docs/detection.md"
PICTURE = "docs/images/detection.svg"
EXAMPLE = FOLDER / "models.yaml"


def detection_files(text: str, *, simulate_times: bool) -> dict[str, str]:
    """Return the page with the content ``text``, and its picture, by path.

    The table of times takes some ten seconds, and stays as it is unless ``simulate_times`` is true.

    Raises:
        Stale: if the example is refused by ``check``, or a marker is missing.
    """
    output, picture = simulated_example()
    page = replace_part(PAGE, text, "forecast", f"```text\n{output}\n```")
    if simulate_times:
        page = replace_part(PAGE, page, "times", times_table())
    return {PAGE: page, PICTURE: picture}


def simulated_example() -> tuple[str, str]:
    """Return what ``check --shapes`` prints about outages of the example, and the picture that it draws."""
    output, errors = io.StringIO(), io.StringIO()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "picture.svg"
        arguments = parser().parse_args(["check", "-c", str(EXAMPLE), "--shapes", "--plot", str(path)])
        with mock.patch.dict(os.environ, VARIABLES, clear=True), redirect_stdout(output), redirect_stderr(errors):
            code = check(arguments)
        if code:
            raise Stale(f"{EXAMPLE.name}: {errors.getvalue()}")
        lines = output.getvalue().splitlines()
        begin = next(number for number, line in enumerate(lines) if line.startswith("OUTAGE "))
        return "\n".join(lines[begin:]), path.read_text(encoding="utf-8")


def times_table() -> str:
    """Return the table of the simulated times of the benchmark, in Markdown."""
    from bench import detection

    found = detection.simulate()
    rows = [
        (shape.text, *(detection.cell(found.delays[rule, shape]) for rule in found.rules)) for shape in found.shapes
    ]
    return "\n".join(table(["Outage", *found.rules], rows))
