"""Why matchers match nothing, in words: the labels that there are, or the values of one."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from streamcanary.model.alerts.matcher import Matcher, all_match
from streamcanary.model.config_types.config_issue import Misfit

_MOST = 8  # labels or values that a message lists
_LONGEST = 40  # characters of one


def unmatched(matchers: Sequence[Matcher], things: Sequence[Mapping[str, str]], kind: str) -> Iterator[Misfit]:
    """Yield why ``matchers`` match none of ``things``, which are labels of a ``kind`` such as ``canary``.

    Nothing if they match one, or there is none to match. Paths are below the list of matchers: the number of each that
    alone matches nothing, or, if it is all of them together, the list.
    """
    if not things or any(all_match(matchers, labels) for labels in things):
        return
    wrong = [
        Misfit((number,), f"matches no {kind}: {_why(matcher, things)}")
        for number, matcher in enumerate(matchers)
        if not any(matcher.matches(labels) for labels in things)
    ]
    yield from wrong or [Misfit((), f"matches no {kind}: each of these matches one, and no {kind} all of them")]


def other_label(name: str, things: Iterable[Mapping[str, str]]) -> str:
    """Return which label may be meant where ``things`` have none of that ``name``, or all that they have."""
    known = sorted({label for labels in things for label in labels})
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"they have {some(known)}"


def some(words: Sequence[str], most: int = _MOST, last: str = "and") -> str:
    """Return the first of ``words``, and how many there are more; ``last`` stands before the last one."""
    shown = [word if len(word) <= _LONGEST else f"{word[: _LONGEST - 1]}…" for word in words[:most]]
    if len(words) > most:
        return f"{', '.join(shown)} and {len(words) - most} more"
    return f" {last} ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


def _why(matcher: Matcher, things: Sequence[Mapping[str, str]]) -> str:
    values = sorted({labels[matcher.name] for labels in things if matcher.name in labels})
    if not values:
        return f"there is no label {matcher.name}; {other_label(matcher.name, things)}"
    near = difflib.get_close_matches(matcher.value, values, n=1) if matcher.operator == "=" else []
    return f"{matcher.name} is {some(values, last='or')}" + (
        f"; did you mean {near[0]}?" if near and len(values) > 1 else ""
    )
