"""The regular expressions of the package itself, which ``re`` matches by backtracking."""

import importlib
import inspect
import itertools
import pkgutil
import re
from collections.abc import Iterator

import pytest

import streamcanary

# Repeated, these reach each quantifier of a pattern; the text then ends so that the pattern cannot match.
PIECES = [
    *"aA0_ \t\n.,:;=-/\\\"'(){}$%@<",
    *("ab", "a ", "a,", "a=", "a:", "0.", "0m", "0s", "x1", "a(", "()", "(a", "{a", "${", "://", "://a", "key=", "sk-"),
    *('\\"', '"a', '",', "@here", "a=b,", "a.b", "{{", "{a}", "a_"),
]
AROUND = [("", "\x00"), ("a", "!"), ('a="', "\x00"), ("${", "\x00"), ("a(", "\x00")]
LENGTH = 20_000  # with a pattern of quadratic time, one text takes half a minute
VALIDATED = {"streamcanary.model.config_types.duration._PART"}  # searches only text that another pattern has matched


def own_patterns() -> Iterator[tuple[str, re.Pattern[str] | re.Pattern[bytes]]]:
    """Yield the compiled patterns in the modules of the package, with their names."""
    for found in pkgutil.walk_packages(streamcanary.__path__, "streamcanary."):
        if found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                yield f"{found.name}.{name}", value


PATTERNS = dict(own_patterns())


def test_the_patterns_are_found() -> None:
    """The list below is not empty by mistake."""
    assert "streamcanary.model.alerts.matcher._MATCHER" in PATTERNS


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", sorted(PATTERNS.keys() - VALIDATED))
def test_a_pattern_of_the_package_takes_linear_time(name: str) -> None:
    """No repeated piece of text makes a pattern backtrack, used as the package uses it."""
    pattern, module, variable = PATTERNS[name], *name.rsplit(".", 1)
    uses = set(re.findall(rf"{variable}\.(\w+)\(", inspect.getsource(importlib.import_module(module))))
    is_anchored = not uses & {"search", "sub", "subn", "findall", "finditer", "split"}
    for piece, (start, end) in itertools.product(PIECES, AROUND):
        text = start + piece * (LENGTH // len(piece)) + end
        method = pattern.fullmatch if is_anchored else pattern.search
        method(text.encode() if isinstance(pattern.pattern, bytes) else text)
