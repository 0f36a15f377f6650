"""Explains why matchers match nothing, with the existing labels or the values of a label."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from streamcanary.model.alerts.matcher import Matcher, all_match
from streamcanary.model.config_types.config_issue import ConfigIssue

_MAX_LISTED = 8  # labels or values that a message lists
_MAX_WORD_LENGTH = 40  # characters of a label or value


def matcher_issues(
    matchers: Sequence[Matcher], label_sets: Sequence[Mapping[str, str]], kind: str
) -> Iterator[ConfigIssue]:
    """Yield why ``matchers`` match none of ``label_sets``, the labels of all objects of a ``kind`` such as ``canary``.

    Yield nothing if they match one of them, or if ``label_sets`` is empty. A path starts below the list of matchers: it
    is the index of each matcher that alone matches nothing, or empty if only the combination matches nothing.
    """
    if not label_sets or any(all_match(matchers, labels) for labels in label_sets):
        return
    mismatches = [
        ConfigIssue((number,), f"matches no {kind}: {_mismatch_reason(matcher, label_sets)}")
        for number, matcher in enumerate(matchers)
        if not any(matcher.matches(labels) for labels in label_sets)
    ]
    yield from mismatches or [
        ConfigIssue((), f"matches no {kind}: each matcher matches some, but no {kind} matches all of them")
    ]


def suggest_label(name: str, label_sets: Iterable[Mapping[str, str]]) -> str:
    """Return a suggestion for the unknown label ``name``: the closest label of ``label_sets``, or all of them."""
    known = sorted({label for labels in label_sets for label in labels})
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known labels: {join_names(known)}"


def join_names(words: Sequence[str], limit: int = _MAX_LISTED, last: str = "and") -> str:
    """Return up to ``limit`` of ``words`` and the number of others, joined by commas and ``last``."""
    shown = [word if len(word) <= _MAX_WORD_LENGTH else f"{word[: _MAX_WORD_LENGTH - 1]}…" for word in words[:limit]]
    if len(words) > limit:
        return f"{', '.join(shown)} and {len(words) - limit} more"
    return f" {last} ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


def _mismatch_reason(matcher: Matcher, label_sets: Sequence[Mapping[str, str]]) -> str:
    values = sorted({labels[matcher.name] for labels in label_sets if matcher.name in labels})
    if not values:
        return f"there is no label {matcher.name}; {suggest_label(matcher.name, label_sets)}"
    near = difflib.get_close_matches(matcher.value, values, n=1) if matcher.operator == "=" else []
    return f"{matcher.name} is {join_names(values, last='or')}" + (
        f"; did you mean {near[0]}?" if near and len(values) > 1 else ""
    )
