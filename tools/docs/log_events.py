"""Finds the log events that are exported over OTLP: the messages of all lines from ``warning`` up, in the source code.

A message is a literal, one of two, or a variable that is assigned such a literal in the same module, or that is the
parameter of a function that the module calls with one.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from .page import Stale
from .product import SOURCE, event_name, names

_METHODS = {"warning": 0, "error": 0, "critical": 0, "exception": 0, "log": 1}
"""The methods of a logger, and the position of the message."""


def log_events() -> set[str]:
    """Return the names of the events.

    Raises:
        Stale: if a message is none of the forms that this can read.
    """
    found = set()
    for path in sorted(SOURCE.rglob("*.py")):
        for message in _messages(path):
            if (name := event_name(names.INSTRUMENTATION_SCOPE, message)) is not None:
                found.add(name)
    return found


def _messages(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(method := node.func, ast.Attribute)
            and isinstance(logger := method.value, ast.Name)
            and logger.id == "_log"
            and (position := _METHODS.get(method.attr)) is not None
        ):
            message = node.args[position]
            values = [message] if not isinstance(message, ast.Name) else [*_values_of(message.id, tree)]
            if not values:
                raise Stale(f"{path.relative_to(SOURCE)}, line {node.lineno}: the message of the log line is not found")
            for value in values:
                yield from _literals(value, path)


def _values_of(variable: str, tree: ast.Module) -> Iterator[ast.expr]:
    """Yield what ``variable`` is assigned, and what is passed for the parameter of that name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == variable for target in node.targets
        ):
            yield node.value
        if isinstance(node, ast.FunctionDef):
            parameters = [parameter.arg for parameter in node.args.args if parameter.arg != "self"]
            if variable in parameters:
                yield from _arguments(node.name, parameters.index(variable), tree)


def _arguments(function: str, position: int, tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == function:
            yield node.args[position]


def _literals(value: ast.expr, path: Path) -> Iterator[str]:
    if isinstance(value, ast.IfExp):
        yield from _literals(value.body, path)
        yield from _literals(value.orelse, path)
    elif isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    else:
        raise Stale(f"{path.relative_to(SOURCE)}, line {value.lineno}: the message of a log line is no literal")
