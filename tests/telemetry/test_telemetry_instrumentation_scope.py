"""The instrumentation scope of every tracer and meter."""

import ast
from pathlib import Path

import streamcanary

PACKAGE = Path(streamcanary.__file__).parent


def test_every_tracer_and_meter_has_the_version_of_the_package() -> None:
    """Each call of ``get_tracer`` and ``get_meter`` in the package passes the scope and ``__version__``."""
    calls = {
        f"{path.relative_to(PACKAGE)}: {ast.unparse(node)}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("get_tracer", "get_meter"))
    }
    assert calls
    assert set() == {call for call in calls if not call.endswith("(names.INSTRUMENTATION_SCOPE, __version__)")}
